package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// podPatience bounds the wait for a pod to appear that the kubelet is already starting.
const podPatience = 5 * time.Second

// Request is what the network plugin says before a pod's first packet and after its last.
type Request struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Address   string `json:"address"`
	Gone      bool   `json:"gone"`
}

// NewCommand gives the component: it watches the cluster and keeps the node's rules as the policies say.
func NewCommand() *cobra.Command {
	var kubeconfig, socket string
	command := &cobra.Command{
		Use:   "network-policy",
		Short: "Enforce NetworkPolicies on this node",
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return run(ctx, kubeconfig, socket)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&socket, "socket", "", "where the network plugin announces pods")
	return command
}

type enforcer struct {
	pods, namespaces, policies cache.SharedIndexInformer

	mutex    sync.Mutex
	attached map[string]string
	loaded   string
}

func run(ctx context.Context, kubeconfig, socket string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	e := &enforcer{
		pods:       factory.Core().V1().Pods().Informer(),
		namespaces: factory.Core().V1().Namespaces().Informer(),
		policies:   factory.Networking().V1().NetworkPolicies().Informer(),
		attached:   map[string]string{},
	}
	changed := make(chan struct{}, 1)
	notice := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notice() },
		UpdateFunc: func(_, _ any) { notice() },
		DeleteFunc: func(any) { notice() },
	}
	for _, informer := range []cache.SharedIndexInformer{e.pods, e.namespaces, e.policies} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go e.listen(listener)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if err := e.load(); err != nil {
				log.Print(err)
			}
		}
	}
}

// load brings the node's rules up to date.
func (e *enforcer) load() error {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	rules := Ruleset(Objects{
		Pods:       list[*corev1.Pod](e.pods),
		Namespaces: list[*corev1.Namespace](e.namespaces),
		Policies:   list[*netv1.NetworkPolicy](e.policies),
		Attached:   e.attached,
	})
	if rules == e.loaded {
		return nil
	}
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if output, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w\n%s\n%s", err, output, rules)
	}
	e.loaded = rules
	return nil
}

func list[T any](informer cache.SharedIndexInformer) []T {
	var all []T
	for _, object := range informer.GetStore().List() {
		all = append(all, object.(T))
	}
	return all
}

// listen answers the network plugin. A pod's network is ready only after its rules are loaded, so no packet of it
// goes unjudged.
func (e *enforcer) listen(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Printf("network plugin: %v", err)
			os.Exit(1)
		}
		go func() {
			defer connection.Close()
			answer := "ok\n"
			if err := e.serve(connection); err != nil {
				answer = err.Error() + "\n"
			}
			if _, err := connection.Write([]byte(answer)); err != nil {
				log.Printf("network plugin: %v", err)
			}
		}()
	}
}

func (e *enforcer) serve(connection net.Conn) error {
	var request Request
	if err := json.NewDecoder(connection).Decode(&request); err != nil {
		return err
	}
	key := request.Namespace + "/" + request.Name
	e.mutex.Lock()
	// Whoever had this address has it no more. A pod's next network may be there before its last one is gone.
	maps.DeleteFunc(e.attached, func(_, address string) bool { return address == request.Address })
	if !request.Gone {
		e.attached[key] = request.Address
	}
	e.mutex.Unlock()
	if !request.Gone {
		deadline := time.Now().Add(podPatience)
		for {
			if _, exists, _ := e.pods.GetStore().GetByKey(key); exists {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("the pod %s is unknown after %s", key, podPatience)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return e.load()
}
