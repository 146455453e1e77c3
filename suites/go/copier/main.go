// Copies one topic to another, partition by partition, in transactions; each value gets the copier's mark at its end.
//
// usage: go-copier HOST:PORT[,HOST:PORT]... TRANSACTIONAL-ID classic|consumer FROM TO
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: go-copier HOST:PORT[,HOST:PORT]... TRANSACTIONAL-ID classic|consumer FROM TO")
		os.Exit(2)
	}
	for {
		err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		fmt.Println("ends:", err)
		if !unreachable(err) {
			os.Exit(1)
		}
	}
}

// The client gives an end of a transaction up when nobody answers for a while: a new session learns how it ended.
func unreachable(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, kgo.ErrRecordTimeout)
}

func run(bootstrap, id, protocol, from, to string) error {
	ctx := context.Background()
	if protocol == "consumer" {
		// How franz-go is told to use the new protocol.
		ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true) //nolint:staticcheck // their key
	}
	session, err := kgo.NewGroupTransactSession(
		kgo.WithContext(ctx),
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(30*time.Second),
		kgo.ConsumerGroup(to),
		kgo.ConsumeTopics(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(1500*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	for {
		if err := copyOnce(ctx, session, to); err != nil {
			return err
		}
	}
}

// copyOnce copies what the next poll brings.
func copyOnce(ctx context.Context, session *kgo.GroupTransactSession, to string) error {
	fetches := session.PollRecords(ctx, 200)
	fetches.EachError(func(topic string, partition int32, err error) {
		fmt.Println("fetch:", topic, partition, err)
	})
	if fetches.Empty() {
		return nil
	}
	if err := session.Begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	first := kgo.AbortingFirstErrPromise(session.Client())
	fetches.EachRecord(func(record *kgo.Record) {
		session.Produce(ctx, &kgo.Record{
			Topic:     to,
			Partition: record.Partition,
			Key:       record.Key,
			Value:     append(record.Value[:len(record.Value):len(record.Value)], ">go"...),
		}, first.Promise())
	})
	err := first.Err()
	if err != nil {
		fmt.Println("aborts:", err)
	}
	committed, err := session.End(ctx, err == nil)
	if err != nil {
		return fmt.Errorf("end: %w", err)
	}
	if !committed {
		fmt.Println("aborted")
	}
	return nil
}
