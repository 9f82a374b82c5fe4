// A stock ttRPC client: calls the echo service over TLS without ALPN and prints what it got, one line each.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/types"
	"google.golang.org/grpc/status"
)

func main() {
	address, ca := os.Args[1], os.Args[2]
	pem, err := os.ReadFile(ca)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		panic(err)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()

	call := func(ctx context.Context, method, value string) string {
		var response types.StringValue
		err := client.Call(ctx, "test.v1.Echo", method, &types.StringValue{Value: value}, &response)
		if err != nil {
			return "error " + status.Code(err).String() + " " + status.Convert(err).Message()
		}
		return response.Value
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fmt.Println(call(ctx, "Inline", "hello"))
	fmt.Println(call(ctx, "Async", "hello"))
	fmt.Println(call(ctx, "Parked", "hello"))
	fmt.Println(call(ctx, "Inline", ""))
	fmt.Println(call(ctx, "Fail", "thing"))
	fmt.Println(call(ctx, "Nope", "x"))
	md := ttrpc.WithMetadata(ctx, ttrpc.MD{"tenant": []string{"a", "b"}})
	fmt.Println(call(md, "Metadata", "tenant"))
	short, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	fmt.Println(call(short, "Hang", "go"))

	var wait sync.WaitGroup
	var mutex sync.Mutex
	right := 0
	for i := 0; i < 500; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			value := fmt.Sprint(i)
			if call(ctx, "Inline", value) == value {
				mutex.Lock()
				right++
				mutex.Unlock()
			}
		}(i)
	}
	wait.Wait()
	fmt.Println(right)
}
