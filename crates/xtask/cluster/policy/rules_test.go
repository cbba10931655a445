package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(name, address string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ci", Name: name, Labels: labels},
		Status:     corev1.PodStatus{PodIP: address, Phase: corev1.PodRunning},
	}
}

func policy(name string, spec netv1.NetworkPolicySpec) *netv1.NetworkPolicy {
	return &netv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ci", Name: name}, Spec: spec}
}

func wants(t *testing.T, rules string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(rules, line) {
			t.Errorf("no %q in\n%s", line, rules)
		}
	}
}

var web = map[string]string{"app": "web"}

func TestPodsWithoutPolicyAreFree(t *testing.T) {
	rules := Ruleset(Objects{Pods: []*corev1.Pod{pod("a", "10.244.0.2", web)}})
	if strings.Contains(rules, "drop") || strings.Contains(rules, "vmap") {
		t.Errorf("a rule for nobody:\n%s", rules)
	}
}

func TestHermeticPodsReachNobody(t *testing.T) {
	rules := Ruleset(Objects{
		Pods:     []*corev1.Pod{pod("a", "10.244.0.2", web)},
		Policies: []*netv1.NetworkPolicy{policy("none", netv1.NetworkPolicySpec{PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress}})},
	})
	wants(t, rules,
		"chain egress_0 {\n\t\tct state established,related accept\n\t\tdrop\n\t}",
		"ip saddr vmap { 10.244.0.2 : jump egress_0 }",
	)
	if strings.Contains(rules, "ingress_0") {
		t.Errorf("a policy for egress counts for ingress:\n%s", rules)
	}
}

func TestAPodIsJudgedBeforeItsStatusSaysItsAddress(t *testing.T) {
	fresh := pod("a", "", web)
	rules := Ruleset(Objects{
		Pods:     []*corev1.Pod{fresh},
		Policies: []*netv1.NetworkPolicy{policy("none", netv1.NetworkPolicySpec{})},
		Attached: map[string]string{"ci/a": "10.244.0.9"},
	})
	wants(t, rules, "ip daddr vmap { 10.244.0.9 : jump ingress_0 }")
}

func TestPeersAndPorts(t *testing.T) {
	udp, port, end := corev1.ProtocolUDP, intstr.FromInt32(53), int32(60)
	rules := Ruleset(Objects{
		Pods: []*corev1.Pod{pod("a", "10.244.0.2", web), pod("b", "10.244.0.3", map[string]string{"app": "db"})},
		Policies: []*netv1.NetworkPolicy{policy("some", netv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: web},
			PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress},
			Egress: []netv1.NetworkPolicyEgressRule{
				{Ports: []netv1.NetworkPolicyPort{{Protocol: &udp, Port: &port, EndPort: &end}}},
				{To: []netv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}},
				{To: []netv1.NetworkPolicyPeer{{IPBlock: &netv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8"}}}}},
				{To: []netv1.NetworkPolicyPeer{{IPBlock: &netv1.IPBlock{CIDR: "fd00::/8"}}}},
			},
		})},
	})
	wants(t, rules,
		"\t\tudp dport 53-60 accept\n",
		"\t\tip daddr { 10.244.0.3 } accept\n",
		"\t\tip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8 } accept\n",
	)
	if strings.Contains(rules, "\t\taccept\n") {
		t.Errorf("a peer that no IPv4 packet has lets everything through:\n%s", rules)
	}
}

func TestANamedPortIsTheDestinationsOwn(t *testing.T) {
	one, other := pod("a", "10.244.0.2", web), pod("b", "10.244.0.3", web)
	one.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}
	other.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}
	port := intstr.FromString("http")
	ports := []netv1.NetworkPolicyPort{{Port: &port}}
	rules := Ruleset(Objects{
		Pods: []*corev1.Pod{one, other},
		Policies: []*netv1.NetworkPolicy{policy("http", netv1.NetworkPolicySpec{
			Ingress: []netv1.NetworkPolicyIngressRule{{Ports: ports}},
			Egress:  []netv1.NetworkPolicyEgressRule{{Ports: ports}},
		})},
	})
	wants(t, rules,
		"chain egress_0 {\n\t\tct state established,related accept\n\t\tip daddr 10.244.0.2 tcp dport 80 accept\n\t\tip daddr 10.244.0.3 tcp dport 8080 accept\n",
		"chain ingress_0 {\n\t\tct state established,related accept\n\t\ttcp dport 80 accept\n\t\tdrop",
		"chain ingress_1 {\n\t\tct state established,related accept\n\t\ttcp dport 8080 accept\n\t\tdrop",
	)
}

func TestNamespacesAreChosenByLabels(t *testing.T) {
	foreign := pod("c", "10.244.0.4", web)
	foreign.Namespace = "other"
	rules := Ruleset(Objects{
		Pods:       []*corev1.Pod{pod("a", "10.244.0.2", web), foreign},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"team": "x"}}}},
		Policies: []*netv1.NetworkPolicy{policy("x", netv1.NetworkPolicySpec{
			Ingress: []netv1.NetworkPolicyIngressRule{{From: []netv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "x"}},
			}}}},
		})},
	})
	wants(t, rules, "ip saddr { 10.244.0.4 } accept", "ip daddr vmap { 10.244.0.2 : jump ingress_0 }")
}
