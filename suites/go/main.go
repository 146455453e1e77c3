// The Go suite: franz-go's client and its admin client, against a server that they take for Apache Kafka.
//
// usage: go-suite HOST:PORT[,HOST:PORT]...
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// How long anything may take.
const limit = 20 * time.Second

type suite struct {
	seeds []string
	admin *kadm.Client
	ctx   context.Context
}

type check struct {
	name string
	run  func(*suite) error
}

var checks = []check{
	{"every codec comes back as it was written", everyCodec},
	{"headers, null values and timestamps are kept", fieldsAreKept},
	{"an idempotent producer's offsets are dense", denseOffsets},
	{"acks of the leader alone store the records too", leaderAcks},
	{"a consumer resumes at an exact offset of many partitions", exactOffsets},
	{"a reader of committed records reads them all", readCommitted},
	{"a sticky fetch session follows partitions that are added and removed", fetchSession},
	{"offsets are listed by time, earliest, latest and largest timestamp", listOffsets},
	{"the end offset for a leader epoch is known", leaderEpochs},
	{"topics are made, described by id, extended and deleted", topicLifecycle},
	{"configurations are set, shown with their source, and deleted", configurations},
	{"records are deleted up to an offset", deleteRecords},
	{"the log folders show a topic's size", logDirs},
	{"the quorum and the brokers are described", clusterDescription},
	{"the producers of a partition are described", describeProducers},
	{"an unknown topic is an error that says so", unknownTopic},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go-suite HOST:PORT[,HOST:PORT]...")
		os.Exit(2)
	}
	s := &suite{seeds: strings.Split(os.Args[1], ",")}
	client, err := s.client()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s.admin = kadm.NewClient(client)
	failed := 0
	for _, c := range checks {
		if err := s.one(c); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", c.name, err)
		} else {
			fmt.Printf("ok   %s\n", c.name)
		}
	}
	fmt.Printf("%d passed, %d failed\n", len(checks)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func (s *suite) one(c check) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.ctx = ctx
	return c.run(s)
}

func (s *suite) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts, kgo.SeedBrokers(s.seeds...))...)
}

// newTopic makes a topic with a name that nobody has.
func (s *suite) newTopic(partitions int32, configs map[string]*string) (string, error) {
	topic := fmt.Sprintf("go-%d", time.Now().UnixNano())
	answer, err := s.admin.CreateTopic(s.ctx, partitions, 1, configs, topic)
	if err != nil {
		return "", err
	}
	return topic, answer.Err
}

// write produces records and waits for them.
func (s *suite) write(records []*kgo.Record, opts ...kgo.Opt) error {
	client, err := s.client(append(opts, kgo.UnknownTopicRetries(-1))...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(s.ctx, records...).FirstErr()
}

// read takes n records of the partitions in start.
func (s *suite) read(topic string, start map[int32]kgo.Offset, n int, opts ...kgo.Opt) ([]*kgo.Record, error) {
	at := kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start})
	client, err := s.client(append(opts, at)...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return poll(s.ctx, client, n)
}

func poll(ctx context.Context, client *kgo.Client, n int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d of %d records: %w", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

func fromStart(partitions int32) map[int32]kgo.Offset {
	start := make(map[int32]kgo.Offset)
	for p := range partitions {
		start[p] = kgo.NewOffset().AtStart()
	}
	return start
}

func numbered(topic string, n int) []*kgo.Record {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key %d", i), Value: fmt.Appendf(nil, "value %d", i)}
	}
	return records
}

// sameOrder compares what was written to one partition with what came back.
func sameOrder(written, read []*kgo.Record) error {
	if len(written) != len(read) {
		return fmt.Errorf("%d records came back, %d were written", len(read), len(written))
	}
	for i := range written {
		if !bytes.Equal(written[i].Key, read[i].Key) || !bytes.Equal(written[i].Value, read[i].Value) {
			return fmt.Errorf("record %d is %q=%q, not %q=%q", i, read[i].Key, read[i].Value, written[i].Key, written[i].Value)
		}
		if read[i].Offset != int64(i) {
			return fmt.Errorf("record %d has offset %d", i, read[i].Offset)
		}
	}
	return nil
}
