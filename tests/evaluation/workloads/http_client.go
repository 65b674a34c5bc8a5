// An HTTP client of Go.  Arguments: name, address, port, kind: `go` or `go-download`.
// It prints and obeys what workload.py describes; Go's runtime waits in epoll.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	leastOp   = 50 * time.Millisecond
	stepEvery = 200 * time.Millisecond
)

var (
	orders  = make(chan []string, 16)
	out     = json.NewEncoder(os.Stdout)
	steps   int
	printed time.Time
)

func step() {
	steps++
	if time.Since(printed) >= stepEvery {
		printed = time.Now()
		out.Encode(map[string]int{"step": steps})
	}
}

func op(begin time.Time) {
	if time.Since(begin) >= leastOp {
		out.Encode(map[string][2]int64{"op": {begin.UnixMilli(), time.Now().UnixMilli()}})
	}
}

func idle() {
	select {
	case order := <-orders:
		seconds, _ := strconv.ParseFloat(order[1], 64)
		out.Encode(map[string]any{"fault": "idle", "at": time.Now().UnixMilli()})
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		out.Encode(map[string]any{"healed": "idle", "at": time.Now().UnixMilli()})
	default:
	}
}

func read() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "idle" {
			orders <- words
		}
	}
	os.Exit(0)
}

// One request and its whole body; every read of a download is a step.
func ask(client *http.Client, url, name string, download bool) error {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Client", name)
	begin := time.Now()
	reply, err := client.Do(request)
	op(begin)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	for data := make([]byte, 65536); ; {
		begin = time.Now()
		_, err = reply.Body.Read(data)
		op(begin)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if download {
			step()
		}
	}
}

func main() {
	name, kind := os.Args[1], os.Args[4]
	download := kind == "go-download"
	path := "/work"
	if download {
		path = "/stream"
	}
	go read()
	out.Encode(map[string]bool{"ready": true})
	for client := (&http.Client{}); ; {
		idle()
		time.Sleep(time.Duration(20+rand.Intn(80)) * time.Millisecond)
		if ask(client, "http://"+os.Args[2]+":"+os.Args[3]+path, name, download) != nil {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		step()
	}
}
