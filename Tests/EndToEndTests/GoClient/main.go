// An unmodified ttRPC client of another implementation: asks CheckMembership over TLS, without ALPN.
//
//	main ADDRESS CA-FILE CUSTOMER COHORT
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/proto"
)

type CheckMembershipRequest struct {
	CustomerID  string `protobuf:"bytes,1,opt,name=customer_id,proto3"`
	CohortID    string `protobuf:"bytes,2,opt,name=cohort_id,proto3"`
	MinSequence uint64 `protobuf:"varint,3,opt,name=min_sequence,proto3"`
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
	Detail        string `protobuf:"bytes,7,opt,name=detail,proto3"`
}

func (m *CheckMembershipResponse) Reset()         { *m = CheckMembershipResponse{} }
func (m *CheckMembershipResponse) String() string { return proto.CompactTextString(m) }
func (*CheckMembershipResponse) ProtoMessage()    {}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func run(address, ca, customer, cohort string) error {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", ca)
	}
	connection, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(connection)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request := &CheckMembershipRequest{CustomerID: customer, CohortID: cohort}
	response := &CheckMembershipResponse{}
	if err := client.Call(ctx, "cohort.v1.MembershipService", "CheckMembership", request, response); err != nil {
		return err
	}
	fmt.Println("membership", response.Membership, "member", response.Member, "version", response.CohortVersion)
	return nil
}
