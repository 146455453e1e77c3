package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Offsets, topics, configurations and the cluster.

func listOffsets(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	var written []*kgo.Record
	for _, stamp := range []int64{5000, 9000, 7000} {
		written = append(written, &kgo.Record{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(stamp)})
	}
	if err := s.write(written); err != nil {
		return err
	}
	after := func(stamp int64) func() (kadm.ListedOffsets, error) {
		return func() (kadm.ListedOffsets, error) { return s.admin.ListOffsetsAfterMilli(s.ctx, stamp, topic) }
	}
	cases := []struct {
		name string
		ask  func() (kadm.ListedOffsets, error)
		want int64
	}{
		{"earliest", func() (kadm.ListedOffsets, error) { return s.admin.ListStartOffsets(s.ctx, topic) }, 0},
		{"latest", func() (kadm.ListedOffsets, error) { return s.admin.ListEndOffsets(s.ctx, topic) }, 3},
		{"committed", func() (kadm.ListedOffsets, error) { return s.admin.ListCommittedOffsets(s.ctx, topic) }, 3},
		{"largest timestamp", func() (kadm.ListedOffsets, error) { return s.admin.ListMaxTimestampOffsets(s.ctx, topic) }, 1},
		{"6 s", after(6000), 1},
		// The client answers with the end where no record is so late.
		{"10 s", after(10000), 3},
	}
	for _, c := range cases {
		answer, err := c.ask()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if o, _ := answer.Lookup(topic, 0); o.Err != nil || o.Offset != c.want {
			return fmt.Errorf("%s: offset %d, not %d (%v)", c.name, o.Offset, c.want, o.Err)
		}
	}
	return nil
}

func leaderEpochs(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	if err := s.write(numbered(topic, 10)); err != nil {
		return err
	}
	ends, err := s.admin.ListEndOffsets(s.ctx, topic)
	if err != nil {
		return err
	}
	end, _ := ends.Lookup(topic, 0)
	request := kadm.OffsetForLeaderEpochRequest{}
	request.Add(topic, 0, end.LeaderEpoch)
	answer, err := s.admin.OffsetForLeaderEpoch(s.ctx, request)
	if err != nil {
		return err
	}
	if got := answer[topic][0]; got.Err != nil || got.EndOffset != 10 || got.LeaderEpoch != end.LeaderEpoch {
		return fmt.Errorf("epoch %d ends at %d in epoch %d (%v)", end.LeaderEpoch, got.EndOffset, got.LeaderEpoch, got.Err)
	}
	return nil
}

func topicLifecycle(s *suite) error {
	topic, err := s.newTopic(2, nil)
	if err != nil {
		return err
	}
	again, err := s.admin.CreateTopic(s.ctx, 1, 1, nil, topic)
	if !errors.Is(again.Err, kerr.TopicAlreadyExists) && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("a second topic of that name: %v, %v", again.Err, err)
	}
	if err := s.seen(topic, 2); err != nil {
		return err
	}
	more, err := s.admin.UpdatePartitions(s.ctx, 5, topic)
	if err != nil || more.Error() != nil {
		return fmt.Errorf("more partitions: %v, %v", err, more.Error())
	}
	if err := s.seen(topic, 5); err != nil {
		return err
	}
	deleted, err := s.admin.DeleteTopic(s.ctx, topic)
	if err != nil || deleted.Err != nil {
		return fmt.Errorf("deletion: %v, %v", err, deleted.Err)
	}
	return s.seen(topic, 0)
}

// seen waits until metadata shows that many partitions of a topic, with an id unless there are none.
func (s *suite) seen(topic string, partitions int) error {
	for {
		topics, err := s.admin.ListTopics(s.ctx, topic)
		if err != nil {
			return err
		}
		t := topics[topic]
		if len(t.Partitions) == partitions && (partitions == 0 || t.ID != kadm.TopicID{}) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func configurations(s *suite) error {
	topic, err := s.newTopic(1, map[string]*string{"retention.ms": kadm.StringPtr("1000000")})
	if err != nil {
		return err
	}
	if err := s.seen(topic, 1); err != nil {
		return err
	}
	shows := func(value, source string) (bool, error) {
		all, err := s.admin.DescribeTopicConfigs(s.ctx, topic)
		if err != nil {
			return false, err
		}
		one, err := all.On(topic, nil)
		if err != nil {
			return false, err
		}
		for _, c := range one.Configs {
			if c.Key == "retention.ms" && c.MaybeValue() == value && c.Source.String() == source {
				return true, nil
			}
		}
		return false, nil
	}
	// Apache Kafka answers before its broker knows of a change.
	expect := func(value, source string) error {
		for {
			if is, err := shows(value, source); is || err != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	alter := func(op kadm.IncrementalOp, value *string) error {
		change := []kadm.AlterConfig{{Op: op, Name: "retention.ms", Value: value}}
		answers, err := s.admin.AlterTopicConfigs(s.ctx, change, topic)
		if err != nil {
			return err
		}
		return answers[0].Err
	}
	if err := expect("1000000", "DYNAMIC_TOPIC_CONFIG"); err != nil {
		return err
	}
	if err := alter(kadm.SetConfig, kadm.StringPtr("2000000")); err != nil {
		return err
	}
	if err := expect("2000000", "DYNAMIC_TOPIC_CONFIG"); err != nil {
		return err
	}
	if err := alter(kadm.DeleteConfig, nil); err != nil {
		return err
	}
	if err := expect("604800000", "DEFAULT_CONFIG"); err != nil {
		return err
	}
	if err := alter(kadm.SetConfig, kadm.StringPtr("never")); !errors.Is(err, kerr.InvalidConfig) {
		return fmt.Errorf("a bad value: %v", err)
	}
	return nil
}

func deleteRecords(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	if err := s.write(numbered(topic, 10)); err != nil {
		return err
	}
	upTo := kadm.Offsets{}
	upTo.AddOffset(topic, 0, 7, -1)
	answer, err := s.admin.DeleteRecords(s.ctx, upTo)
	if err != nil || answer.Error() != nil {
		return fmt.Errorf("%v, %v", err, answer.Error())
	}
	read, err := s.read(topic, fromStart(1), 3)
	if err != nil {
		return err
	}
	if read[0].Offset != 7 {
		return fmt.Errorf("the first record left has offset %d", read[0].Offset)
	}
	return nil
}

func logDirs(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	if err := s.write(numbered(topic, 1000)); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	dirs, err := s.admin.DescribeAllLogDirs(s.ctx, set)
	if err != nil {
		return err
	}
	var size int64
	dirs.Each(func(d kadm.DescribedLogDir) {
		err = errors.Join(err, d.Err)
		size += d.Size()
	})
	if err != nil {
		return err
	}
	if size <= 0 {
		return fmt.Errorf("a topic with 1000 records has %d bytes", size)
	}
	return nil
}

func clusterDescription(s *suite) error {
	metadata, err := s.admin.BrokerMetadata(s.ctx)
	if err != nil {
		return err
	}
	if metadata.Cluster == "" || len(metadata.Brokers) == 0 || metadata.Controller < 0 {
		return fmt.Errorf("cluster %q, %d brokers, controller %d", metadata.Cluster, len(metadata.Brokers), metadata.Controller)
	}
	versions, err := s.admin.ApiVersions(s.ctx)
	if err != nil {
		return err
	}
	if len(versions) != len(metadata.Brokers) {
		return fmt.Errorf("%d of %d brokers told their versions", len(versions), len(metadata.Brokers))
	}
	return s.quorum()
}

func (s *suite) quorum() error {
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = []kmsg.DescribeQuorumRequestTopicPartition{kmsg.NewDescribeQuorumRequestTopicPartition()}
	request.Topics = append(request.Topics, topic)
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := request.RequestWith(s.ctx, client)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return err
	}
	p := answer.Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.LeaderID < 0 || len(p.CurrentVoters) == 0 {
		return fmt.Errorf("error %d, leader %d, %d voters", p.ErrorCode, p.LeaderID, len(p.CurrentVoters))
	}
	return nil
}

func describeProducers(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	if err := s.write(numbered(topic, 10)); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	answer, err := s.admin.DescribeProducers(s.ctx, set)
	if err != nil {
		return err
	}
	producers := answer.SortedProducers()
	if len(producers) != 1 || producers[0].LastSequence != 9 {
		return fmt.Errorf("producers: %+v", producers)
	}
	return nil
}

func unknownTopic(s *suite) error {
	answers, err := s.admin.DeleteTopics(s.ctx, "go-no-such-topic")
	if err != nil {
		return err
	}
	if err := answers["go-no-such-topic"].Err; !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("deletion: %v", err)
	}
	return nil
}
