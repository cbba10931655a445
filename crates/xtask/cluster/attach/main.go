// Command network-policy-attach is a network plugin (CNI) behind the one that gives a pod its address: it holds the
// pod back until the network-policy component has the pod's rules in force.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const patience = 10 * time.Second

// configuration is what the runtime writes to stdin.
type configuration struct {
	Version string `json:"cniVersion"`
	// Where the network-policy component listens.
	Socket   string          `json:"socket"`
	Previous json.RawMessage `json:"prevResult"`
}

func main() {
	if err := run(); err != nil {
		// The form in which plugins report errors; codes from 100 are the plugin's own.
		json.NewEncoder(os.Stdout).Encode(map[string]any{"code": 100, "msg": err.Error()})
		os.Exit(1)
	}
}

func run() error {
	var c configuration
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	switch command := os.Getenv("CNI_COMMAND"); command {
	case "ADD":
		address, err := c.address()
		if err != nil {
			return err
		}
		if err := c.announce(address, false); err != nil {
			return err
		}
		_, err = os.Stdout.Write(c.Previous)
		return err
	case "DEL":
		// Removal must succeed also when the component is gone, and when the addition had failed.
		if address, err := c.address(); err == nil {
			_ = c.announce(address, true)
		}
		return nil
	case "VERSION":
		return json.NewEncoder(os.Stdout).Encode(map[string]any{
			"cniVersion":        "1.0.0",
			"supportedVersions": []string{"0.4.0", "1.0.0", "1.1.0"},
		})
	default: // CHECK, STATUS and GC have nothing to do
		return nil
	}
}

// address is the IPv4 address that the plugin before gave the pod.
func (c *configuration) address() (string, error) {
	var result struct {
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(c.Previous, &result); err != nil {
		return "", fmt.Errorf("read the result of the plugin before: %w", err)
	}
	for _, ip := range result.IPs {
		if parsed, _, err := net.ParseCIDR(ip.Address); err == nil && parsed.To4() != nil {
			return parsed.String(), nil
		}
	}
	return "", fmt.Errorf("the plugin before gave no IPv4 address: %s", c.Previous)
}

func (c *configuration) announce(address string, gone bool) error {
	connection, err := net.DialTimeout("unix", c.Socket, patience)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	request := map[string]any{
		"namespace": argument("K8S_POD_NAMESPACE"),
		"name":      argument("K8S_POD_NAME"),
		"address":   address,
		"gone":      gone,
	}
	if err := json.NewEncoder(connection).Encode(request); err != nil {
		return err
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		return err
	}
	if said := strings.TrimSpace(string(answer)); said != "ok" {
		return fmt.Errorf("network-policy: %s", said)
	}
	return nil
}

// argument is one of those the runtime passes as KEY=VALUE;KEY=VALUE.
func argument(name string) string {
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}
