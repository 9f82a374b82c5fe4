// The peer of `scripts/bench rpc`: CheckMembership on the Go ttRPC server, over TLS, from a map in memory.
//
//	main CERTIFICATE KEY CUSTOMERS ID-PREFIX
//
// Prints its port when it listens; every customer of an even number is a member.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/proto"
)

type CheckMembershipRequest struct {
	CustomerID string `protobuf:"bytes,1,opt,name=customer_id,proto3"`
	CohortID   string `protobuf:"bytes,2,opt,name=cohort_id,proto3"`
}

func (m *CheckMembershipRequest) Reset()         { *m = CheckMembershipRequest{} }
func (m *CheckMembershipRequest) String() string { return proto.CompactTextString(m) }
func (*CheckMembershipRequest) ProtoMessage()    {}

type CheckMembershipResponse struct {
	Membership    int32  `protobuf:"varint,1,opt,name=membership,proto3"`
	Member        bool   `protobuf:"varint,2,opt,name=member,proto3"`
	Reason        int32  `protobuf:"varint,3,opt,name=reason,proto3"`
	Sequence      uint64 `protobuf:"varint,4,opt,name=sequence,proto3"`
	CohortVersion uint32 `protobuf:"varint,5,opt,name=cohort_version,proto3"`
}

func (m *CheckMembershipResponse) Reset()         { *m = CheckMembershipResponse{} }
func (m *CheckMembershipResponse) String() string { return proto.CompactTextString(m) }
func (*CheckMembershipResponse) ProtoMessage()    {}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	check(err)
	customers, err := strconv.Atoi(os.Args[3])
	check(err)
	members := make(map[string]bool, customers)
	for number := 0; number < customers; number++ {
		members[fmt.Sprintf("%s%012d", os.Args[4], number)] = number%2 == 0
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13,
	})
	check(err)
	server, err := ttrpc.NewServer()
	check(err)
	server.Register("cohort.v1.MembershipService", map[string]ttrpc.Method{
		"CheckMembership": func(ctx context.Context, unmarshal func(interface{}) error) (interface{}, error) {
			request := &CheckMembershipRequest{}
			if err := unmarshal(request); err != nil {
				return nil, err
			}
			response := &CheckMembershipResponse{Membership: 2, Reason: 2, Sequence: 1, CohortVersion: 1}
			if members[request.CustomerID] {
				response.Membership, response.Member, response.Reason = 1, true, 1
			}
			return response, nil
		},
	})
	fmt.Println(listener.Addr().String())
	check(server.Serve(context.Background(), listener))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
