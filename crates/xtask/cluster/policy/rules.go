// Package policy enforces the NetworkPolicies of a one-node cluster with nftables, for IPv4.
package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Table is the nftables table that holds all the rules.
const Table = "network_policy"

// Objects is what the cluster says.
type Objects struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*netv1.NetworkPolicy
	// Addresses of pods whose network is being set up, by namespace/name: their status does not say them yet.
	Attached map[string]string
}

// endpoint is a pod with an address.
type endpoint struct {
	pod     *corev1.Pod
	address string
}

// chain is what one pod may do in one direction.
type chain struct {
	name    string
	address string
	accepts []string
}

// Ruleset gives the whole table as input for `nft -f -`; loading it is one transaction.
//
// Egress is judged before routing and after the translation of service addresses, so that a rule for a pod also
// counts for a service in front of it, and what goes to the node itself is judged, too. Ingress is judged while
// forwarding, so that the node's own probes pass, as the API demands.
func Ruleset(objects Objects) string {
	s := newState(objects)
	var egress, ingress []chain
	for i, e := range s.endpoints {
		out := chain{name: fmt.Sprintf("egress_%d", i), address: e.address}
		in := chain{name: fmt.Sprintf("ingress_%d", i), address: e.address}
		var outIsolated, inIsolated bool
		for _, p := range s.policies {
			if p.Namespace != e.pod.Namespace || !selects(&p.Spec.PodSelector, e.pod.Labels) {
				continue
			}
			if isolates(p, netv1.PolicyTypeEgress) {
				outIsolated = true
				for _, rule := range p.Spec.Egress {
					out.accepts = append(out.accepts, s.egress(p.Namespace, rule)...)
				}
			}
			if isolates(p, netv1.PolicyTypeIngress) {
				inIsolated = true
				for _, rule := range p.Spec.Ingress {
					in.accepts = append(in.accepts, s.ingress(p.Namespace, e.pod, rule)...)
				}
			}
		}
		if outIsolated {
			egress = append(egress, out)
		}
		if inIsolated {
			ingress = append(ingress, in)
		}
	}
	return write(egress, ingress)
}

func write(egress, ingress []chain) string {
	var b strings.Builder
	// Deleting what is not there fails, so it is added first.
	fmt.Fprintf(&b, "table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n", Table)
	for _, c := range slices.Concat(egress, ingress) {
		fmt.Fprintf(&b, "\tchain %s {\n\t\tct state established,related accept\n", c.name)
		slices.Sort(c.accepts)
		for _, match := range slices.Compact(c.accepts) {
			fmt.Fprintf(&b, "\t\t%s\n", strings.TrimSpace(match+" accept"))
		}
		b.WriteString("\t\tdrop\n\t}\n")
	}
	hook := func(name, position, field string, chains []chain) {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s\n", name, position)
		if len(chains) > 0 {
			var jumps []string
			for _, c := range chains {
				jumps = append(jumps, c.address+" : jump "+c.name)
			}
			fmt.Fprintf(&b, "\t\tip %s vmap { %s }\n", field, strings.Join(jumps, ", "))
		}
		b.WriteString("\t}\n")
	}
	hook("egress", "prerouting priority -50; policy accept;", "saddr", egress)
	hook("ingress", "forward priority 0; policy accept;", "daddr", ingress)
	b.WriteString("}\n")
	return b.String()
}

type state struct {
	endpoints  []endpoint
	namespaces map[string]labels.Set
	policies   []*netv1.NetworkPolicy
}

func newState(objects Objects) state {
	s := state{namespaces: map[string]labels.Set{}, policies: slices.Clone(objects.Policies)}
	for _, namespace := range objects.Namespaces {
		s.namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range objects.Pods {
		if address := address(pod, objects.Attached); address != "" {
			s.endpoints = append(s.endpoints, endpoint{pod, address})
		}
	}
	slices.SortFunc(s.endpoints, func(a, b endpoint) int { return cmp.Compare(key(a.pod), key(b.pod)) })
	slices.SortFunc(s.policies, func(a, b *netv1.NetworkPolicy) int { return cmp.Compare(key(a), key(b)) })
	return s
}

// address is the pod's own one; none when it has ended or uses the node's network.
func address(pod *corev1.Pod, attached map[string]string) string {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if ended || pod.Spec.HostNetwork {
		return ""
	}
	return cmp.Or(attached[key(pod)], pod.Status.PodIP)
}

func key(object metav1.Object) string {
	return object.GetNamespace() + "/" + object.GetName()
}

// egress gives the matches of one rule.
func (s *state) egress(namespace string, rule netv1.NetworkPolicyEgressRule) []string {
	var matches []string
	for _, port := range portsOrAny(rule.Ports) {
		for _, to := range s.peers("daddr", namespace, rule.To) {
			if named(port) {
				// A name means each destination's own port of that name.
				for _, e := range s.within(namespace, rule.To) {
					matches = append(matches, namedPorts(e.pod, port, "ip daddr "+e.address)...)
				}
				continue
			}
			matches = append(matches, strings.TrimSpace(to+" "+portMatch(port)))
		}
	}
	return matches
}

func (s *state) ingress(namespace string, pod *corev1.Pod, rule netv1.NetworkPolicyIngressRule) []string {
	var matches []string
	for _, port := range portsOrAny(rule.Ports) {
		for _, from := range s.peers("saddr", namespace, rule.From) {
			if named(port) {
				matches = append(matches, namedPorts(pod, port, from)...)
				continue
			}
			matches = append(matches, strings.TrimSpace(from+" "+portMatch(port)))
		}
	}
	return matches
}

// peers gives one match per peer that has any address; the empty match when everybody is meant.
func (s *state) peers(field, namespace string, peers []netv1.NetworkPolicyPeer) []string {
	if len(peers) == 0 {
		return []string{""}
	}
	var matches []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			matches = append(matches, block(field, peer.IPBlock)...)
			continue
		}
		var addresses []string
		for _, e := range s.selected(namespace, peer) {
			addresses = append(addresses, e.address)
		}
		if len(addresses) > 0 {
			matches = append(matches, fmt.Sprintf("ip %s { %s }", field, strings.Join(addresses, ", ")))
		}
	}
	return matches
}

func block(field string, b *netv1.IPBlock) []string {
	if !isIPv4(b.CIDR) {
		return nil
	}
	match := fmt.Sprintf("ip %s %s", field, b.CIDR)
	if except := slices.DeleteFunc(slices.Clone(b.Except), func(c string) bool { return !isIPv4(c) }); len(except) > 0 {
		match += fmt.Sprintf(" ip %s != { %s }", field, strings.Join(except, ", "))
	}
	return []string{match}
}

func isIPv4(cidr string) bool {
	prefix, err := netip.ParsePrefix(cidr)
	return err == nil && prefix.Addr().Is4()
}

// within gives the pods that a rule's peers mean; all pods when it names none.
func (s *state) within(namespace string, peers []netv1.NetworkPolicyPeer) []endpoint {
	if len(peers) == 0 {
		return s.endpoints
	}
	var all []endpoint
	for _, peer := range peers {
		if peer.IPBlock == nil {
			all = append(all, s.selected(namespace, peer)...)
		}
	}
	return all
}

func (s *state) selected(namespace string, peer netv1.NetworkPolicyPeer) []endpoint {
	var all []endpoint
	for _, e := range s.endpoints {
		if peer.NamespaceSelector == nil && e.pod.Namespace != namespace {
			continue
		}
		if peer.NamespaceSelector != nil && !selects(peer.NamespaceSelector, s.namespaces[e.pod.Namespace]) {
			continue
		}
		if peer.PodSelector == nil || selects(peer.PodSelector, e.pod.Labels) {
			all = append(all, e)
		}
	}
	return all
}

// portsOrAny gives the ports of a rule; nil stands for every port.
func portsOrAny(ports []netv1.NetworkPolicyPort) []*netv1.NetworkPolicyPort {
	if len(ports) == 0 {
		return []*netv1.NetworkPolicyPort{nil}
	}
	var all []*netv1.NetworkPolicyPort
	for i := range ports {
		all = append(all, &ports[i])
	}
	return all
}

func named(port *netv1.NetworkPolicyPort) bool {
	return port != nil && port.Port != nil && port.Port.StrVal != ""
}

func protocol(port *netv1.NetworkPolicyPort) corev1.Protocol {
	if port.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *port.Protocol
}

func portMatch(port *netv1.NetworkPolicyPort) string {
	switch {
	case port == nil:
		return ""
	case port.Port == nil:
		return "meta l4proto " + strings.ToLower(string(protocol(port)))
	case port.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d", strings.ToLower(string(protocol(port))), port.Port.IntVal, *port.EndPort)
	default:
		return fmt.Sprintf("%s dport %d", strings.ToLower(string(protocol(port))), port.Port.IntVal)
	}
}

// namedPorts gives a match for each of a pod's ports of this name and protocol.
func namedPorts(pod *corev1.Pod, port *netv1.NetworkPolicyPort, peer string) []string {
	var matches []string
	containers := slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)
	for _, container := range containers {
		for _, p := range container.Ports {
			if p.Name == port.Port.StrVal && cmp.Or(p.Protocol, corev1.ProtocolTCP) == protocol(port) {
				match := fmt.Sprintf("%s %s dport %d", peer, strings.ToLower(string(protocol(port))), p.ContainerPort)
				matches = append(matches, strings.TrimSpace(match))
			}
		}
	}
	return matches
}

func selects(selector *metav1.LabelSelector, set labels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}

// isolates says whether a policy counts for a direction.
func isolates(p *netv1.NetworkPolicy, direction netv1.PolicyType) bool {
	if len(p.Spec.PolicyTypes) > 0 {
		return slices.Contains(p.Spec.PolicyTypes, direction)
	}
	return direction == netv1.PolicyTypeIngress || len(p.Spec.Egress) > 0
}
