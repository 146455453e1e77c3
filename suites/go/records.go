package main

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Writing and reading records.

func everyCodec(s *suite) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		topic, err := s.newTopic(1, nil)
		if err != nil {
			return err
		}
		written := numbered(topic, 1000)
		if err := s.write(written, kgo.ProducerBatchCompression(codec)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		read, err := s.read(topic, fromStart(1), len(written))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := sameOrder(written, read); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func fieldsAreKept(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	stamp := time.UnixMilli(1_356_998_400_123)
	headers := []kgo.RecordHeader{{Key: "b", Value: []byte("2")}, {Key: "a"}, {Key: "b", Value: []byte{}}}
	record := &kgo.Record{Topic: topic, Key: []byte{}, Headers: headers, Timestamp: stamp}
	if err := s.write([]*kgo.Record{record}); err != nil {
		return err
	}
	read, err := s.read(topic, fromStart(1), 1)
	if err != nil {
		return err
	}
	r := read[0]
	switch {
	case r.Key == nil || len(r.Key) != 0:
		return fmt.Errorf("the empty key came back as %v", r.Key)
	case r.Value != nil:
		return fmt.Errorf("the null value came back as %v", r.Value)
	case !r.Timestamp.Equal(stamp):
		return fmt.Errorf("the timestamp came back as %v", r.Timestamp)
	case len(r.Headers) != 3 || r.Headers[0].Key != "b" || r.Headers[1].Value != nil || r.Headers[2].Value == nil:
		return fmt.Errorf("the headers came back as %v", r.Headers)
	}
	return nil
}

func denseOffsets(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	written := numbered(topic, 5000)
	if err := s.write(written, kgo.ProducerBatchMaxBytes(4096)); err != nil {
		return err
	}
	for i, r := range written {
		if r.Offset != int64(i) {
			return fmt.Errorf("record %d was acknowledged at offset %d", i, r.Offset)
		}
	}
	read, err := s.read(topic, fromStart(1), len(written))
	if err != nil {
		return err
	}
	return sameOrder(written, read)
}

func leaderAcks(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	written := numbered(topic, 1000)
	if err := s.write(written, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()); err != nil {
		return err
	}
	read, err := s.read(topic, fromStart(1), len(written))
	if err != nil {
		return err
	}
	return sameOrder(written, read)
}

func exactOffsets(s *suite) error {
	topic, err := s.newTopic(3, nil)
	if err != nil {
		return err
	}
	var written []*kgo.Record
	for i := range 300 {
		written = append(written, &kgo.Record{Topic: topic, Partition: int32(i % 3), Value: fmt.Appendf(nil, "%d", i)})
	}
	if err := s.write(written, kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return err
	}
	start := map[int32]kgo.Offset{0: kgo.NewOffset().At(90), 1: kgo.NewOffset().AtEnd().Relative(-5), 2: kgo.NewOffset().At(99)}
	read, err := s.read(topic, start, 16)
	if err != nil {
		return err
	}
	got := map[int32]int{}
	for _, r := range read {
		got[r.Partition]++
	}
	if got[0] != 10 || got[1] != 5 || got[2] != 1 {
		return fmt.Errorf("records by partition: %v", got)
	}
	return nil
}

func readCommitted(s *suite) error {
	topic, err := s.newTopic(1, nil)
	if err != nil {
		return err
	}
	written := numbered(topic, 100)
	if err := s.write(written); err != nil {
		return err
	}
	read, err := s.read(topic, fromStart(1), len(written), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	return sameOrder(written, read)
}

func fetchSession(s *suite) error {
	topic, err := s.newTopic(2, nil)
	if err != nil {
		return err
	}
	manual := kgo.RecordPartitioner(kgo.ManualPartitioner())
	write := func(partition int32) error {
		return s.write([]*kgo.Record{{Topic: topic, Partition: partition, Value: []byte("v")}}, manual)
	}
	partition := func(p int32) map[string]map[int32]kgo.Offset {
		return map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().AtStart()}}
	}
	client, err := s.client(kgo.ConsumePartitions(partition(0)))
	if err != nil {
		return err
	}
	defer client.Close()
	expect := func(p int32) error {
		if err := write(p); err != nil {
			return err
		}
		records, err := poll(s.ctx, client, 1)
		if err == nil && records[0].Partition != p {
			err = fmt.Errorf("a record of partition %d came, not of %d", records[0].Partition, p)
		}
		return err
	}
	if err := expect(0); err != nil {
		return err
	}
	client.AddConsumePartitions(partition(1))
	if err := expect(1); err != nil {
		return err
	}
	client.RemoveConsumePartitions(map[string][]int32{topic: {0}})
	return expect(1)
}
