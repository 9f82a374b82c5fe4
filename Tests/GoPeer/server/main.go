// A stock ttRPC server: an echo service over TLS without ALPN. Prints its address, and stops when its input ends.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		panic(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		panic(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		panic(err)
	}
	method := func(handle func(context.Context, string) (string, error)) ttrpc.Method {
		return func(ctx context.Context, unmarshal func(interface{}) error) (interface{}, error) {
			var request types.StringValue
			if err := unmarshal(&request); err != nil {
				return nil, err
			}
			value, err := handle(ctx, request.Value)
			return &types.StringValue{Value: value}, err
		}
	}
	server.Register("test.v1.Echo", map[string]ttrpc.Method{
		"Inline": method(func(_ context.Context, value string) (string, error) { return value, nil }),
		"Fail": method(func(_ context.Context, value string) (string, error) {
			return "", status.Errorf(codes.NotFound, "no %s", value)
		}),
		"Metadata": method(func(ctx context.Context, value string) (string, error) {
			md, _ := ttrpc.GetMetadata(ctx)
			values, _ := md.Get(value)
			return strings.Join(values, ","), nil
		}),
		"Deadline": method(func(ctx context.Context, _ string) (string, error) {
			_, ok := ctx.Deadline()
			return fmt.Sprint(ok), nil
		}),
		"Hang": method(func(ctx context.Context, value string) (string, error) {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
			}
			return value, ctx.Err()
		}),
	})
	go server.Serve(context.Background(), listener)
	fmt.Println(listener.Addr().String())
	io.Copy(io.Discard, os.Stdin)
	server.Close()
}
