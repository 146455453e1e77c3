// kafkajs, a client of the old protocol versions: producing, administration, fetching below its consumer, groups and
// transactions.
//
// usage: suite.js HOST:PORT[,HOST:PORT]...
'use strict'

const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const { Kafka, CompressionTypes, ConfigResourceTypes, Partitioners, logLevel } = require('kafkajs')
const Cluster = require('kafkajs/src/cluster')
const defaultSocketFactory = require('kafkajs/src/network/socketFactory')
const { createLogger } = require('kafkajs/src/loggers')
const consoleLogger = require('kafkajs/src/loggers/console')

const LIMIT_MS = 20_000

if (process.argv.length !== 3) {
  console.error('usage: suite.js HOST:PORT[,HOST:PORT]...')
  process.exit(2)
}
const brokers = process.argv[2].split(',')
const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING })
const admin = kafka.admin()

async function newTopic(numPartitions = 1, configEntries = []) {
  const topic = `node-${randomUUID()}`
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] })
  return topic
}

async function write(topic, messages, { compression, acks = -1, ...settings } = {}) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...settings })
  await producer.connect()
  try {
    return await producer.send({ topic, messages, compression, acks })
  } finally {
    await producer.disconnect()
  }
}

/** All records of a partition from an offset on, by the requests that kafkajs's consumer would send. */
async function read(topic, count, { partition = 0, offset = 0 } = {}) {
  const logger = createLogger({ level: logLevel.NOTHING, logCreator: consoleLogger })
  const cluster = new Cluster({
    logger, brokers, socketFactory: defaultSocketFactory(), clientId: 'suite', connectionTimeout: 1000, isolationLevel: 1,
  })
  await cluster.connect()
  try {
    await cluster.addTargetTopic(topic)
    const leader = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))[0]
    const broker = await cluster.findBroker({ nodeId: leader })
    const records = []
    while (records.length < count) {
      const fetchOffset = String(offset + records.length)
      const answer = await broker.fetch({
        isolationLevel: 1, maxWaitTime: 500, topics: [{ topic, partitions: [{ partition, fetchOffset, maxBytes: 1 << 20 }] }],
      })
      const { messages } = answer.responses[0].partitions[0]
      // A fetch in the middle of a batch brings the whole batch.
      records.push(...messages.filter(m => BigInt(m.offset) >= BigInt(fetchOffset)))
    }
    return records
  } finally {
    await cluster.disconnect()
  }
}

/** Consumers of one topic that form a group. */
class Group {
  constructor(topic) {
    this.topic = topic
    this.name = `node-${randomUUID()}`
    this.members = []
    this.records = []
  }

  async join({ autoCommit = true } = {}) {
    const consumer = kafka.consumer({ groupId: this.name, sessionTimeout: 6000, heartbeatInterval: 300, maxWaitTimeInMs: 300 })
    const member = { consumer, partitions: [] }
    this.members.push(member)
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      member.partitions = payload.memberAssignment[this.topic] ?? []
    })
    await consumer.connect()
    await consumer.subscribe({ topic: this.topic, fromBeginning: true })
    await consumer.run({
      autoCommit,
      eachMessage: async ({ partition, message }) => {
        this.records.push({ partition, offset: message.offset, value: text(message.value) })
      },
    })
    return consumer
  }

  /** How many partitions each member has. */
  shares() {
    return this.members.map(member => member.partitions.length)
  }

  async leave(index) {
    const [{ consumer }] = this.members.splice(index, 1)
    await consumer.disconnect()
  }

  async end() {
    while (this.members.length > 0) await this.leave(0)
  }
}

/** Apache Kafka answers before its broker knows of a change. */
async function eventually(holds) {
  while (!(await holds())) await sleep(50)
}

const numbered = n => Array.from({ length: n }, (_, i) => ({ key: `key ${i}`, value: `value ${i}` }))
const text = bytes => (bytes === null ? null : bytes.toString())

const checks = {
  async 'records come back with each codec it has'() {
    for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
      const topic = await newTopic()
      await write(topic, numbered(500), { compression })
      const records = await read(topic, 500)
      assert.deepEqual(records.map(r => ({ key: text(r.key), value: text(r.value) })), numbered(500))
    }
  },

  async 'null and empty values, headers and timestamps are kept'() {
    const topic = await newTopic()
    const timestamp = '1356998400123'
    await write(topic, [
      { key: null, value: null, timestamp },
      { key: '', value: '', headers: { a: '1', b: ['2', '3'] }, timestamp },
    ])
    const [first, second] = await read(topic, 2)
    assert.equal(first.value, null)
    assert.equal(text(second.value), '')
    assert.equal(text(second.key), '')
    assert.equal(second.timestamp, timestamp)
    assert.equal(text(second.headers.a), '1')
    assert.deepEqual(second.headers.b.map(text), ['2', '3'])
  },

  async 'every ack setting stores the records'() {
    for (const acks of [0, 1, -1]) {
      const topic = await newTopic()
      await write(topic, numbered(100), { acks })
      assert.equal((await read(topic, 100)).at(-1).offset, '99')
    }
  },

  async 'an idempotent producer stores each record once'() {
    const topic = await newTopic()
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let i = 0; i < 20; i++) {
      const [answer] = await producer.send({ topic, messages: numbered(10) })
      assert.equal(answer.baseOffset, String(i * 10))
    }
    await producer.disconnect()
    const [{ high }] = await admin.fetchTopicOffsets(topic)
    assert.equal(high, '200')
  },

  async 'a batch to several topics is answered for each'() {
    const topics = [await newTopic(), await newTopic()]
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    const answers = await producer.sendBatch({ topicMessages: topics.map(topic => ({ topic, messages: numbered(3) })) })
    await producer.disconnect()
    assert.deepEqual(answers.map(a => a.topicName).sort(), topics.sort())
    assert.ok(answers.every(a => a.errorCode === 0 && a.baseOffset === '0'))
  },

  async 'fetching starts in the middle of a batch'() {
    const topic = await newTopic()
    await write(topic, numbered(100))
    assert.equal((await read(topic, 1, { offset: 42 }))[0].offset, '42')
  },

  async 'offsets are fetched by partition and by time'() {
    const topic = await newTopic(2)
    const at = (timestamp, partition) => ({ value: 'v', timestamp: String(timestamp), partition })
    await write(topic, [at(1000, 0), at(2000, 0), at(3000, 1)])
    const offsets = (await admin.fetchTopicOffsets(topic)).sort((a, b) => a.partition - b.partition)
    assert.deepEqual(offsets.map(o => [o.low, o.high]), [['0', '2'], ['0', '1']])
    const byTime = (await admin.fetchTopicOffsetsByTimestamp(topic, 2000)).sort((a, b) => a.partition - b.partition)
    assert.deepEqual(byTime.map(o => o.offset), ['1', '0'])
  },

  async 'topics are listed, described, extended and deleted'() {
    const topic = await newTopic(2)
    await eventually(async () => (await admin.listTopics()).includes(topic))
    await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
    await eventually(async () => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      return topics[0].partitions.length === 4
    })
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic))
  },

  async 'a topic that exists is not made twice'() {
    const topic = await newTopic()
    assert.equal(await admin.createTopics({ topics: [{ topic, replicationFactor: 1 }] }), false)
  },

  async 'configurations are shown and changed'() {
    const topic = await newTopic(1, [{ name: 'retention.ms', value: '1000000' }])
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    const retention = async () => {
      const answer = await admin.describeConfigs({ resources: [{ ...resource, configNames: ['retention.ms'] }] })
      return answer.resources[0].configEntries[0].configValue
    }
    await eventually(async () => (await retention()) === '1000000')
    const configEntries = [{ name: 'retention.ms', value: '2000000' }]
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries }] })
    await eventually(async () => (await retention()) === '2000000')
  },

  async 'records are deleted up to an offset'() {
    const topic = await newTopic()
    await write(topic, numbered(10))
    // The admin client deletes only in topics that it has met.
    assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '0')
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] })
    const [{ low, high }] = await admin.fetchTopicOffsets(topic)
    assert.deepEqual([low, high], ['6', '10'])
  },

  async 'two members share the partitions of a topic, and the one that is left has all'() {
    const topic = await newTopic(4)
    const group = new Group(topic)
    await group.join()
    await group.join()
    await eventually(() => group.shares().join() === '2,2')
    for (let partition = 0; partition < 4; partition++) {
      await write(topic, numbered(25).map(m => ({ ...m, partition })))
    }
    await eventually(() => group.records.length >= 100)
    assert.equal(new Set(group.records.map(r => `${r.partition} ${r.offset}`)).size, 100)
    assert.equal(group.records.length, 100)
    await group.leave(0)
    await eventually(() => group.shares().join() === '4')
    await group.end()
  },

  async 'a group goes on where it committed'() {
    const topic = await newTopic()
    await write(topic, numbered(10))
    const group = new Group(topic)
    const first = await group.join({ autoCommit: false })
    await eventually(() => group.records.length === 10)
    await first.commitOffsets([{ topic, partition: 0, offset: '4', metadata: 'four' }])
    await group.end()
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group.name, topics: [topic] })
    assert.deepEqual(partitions, [{ partition: 0, offset: '4', metadata: 'four' }])
    group.records = []
    await group.join()
    await eventually(() => group.records.length === 6)
    assert.equal(group.records[0].offset, '4')
    await group.end()
  },

  async 'offsets and records of a transaction are committed together, or not at all'() {
    const topic = await newTopic()
    const groupId = `node-${randomUUID()}`
    const producer = kafka.producer({
      transactionalId: groupId, idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner,
    })
    await producer.connect()
    for (const [offset, end] of [['3', 'commit'], ['5', 'abort']]) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ value: end }] })
      const topics = [{ topic, partitions: [{ partition: 0, offset }] }]
      await transaction.sendOffsets({ consumerGroupId: groupId, topics })
      await transaction[end]()
    }
    await producer.disconnect()
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
    assert.equal(partitions[0].offset, '3')
    const group = new Group(topic)
    await group.join()
    await write(topic, [{ value: 'after' }])
    await eventually(() => group.records.some(r => r.value === 'after'))
    await group.end()
    assert.deepEqual(group.records.map(r => r.value), ['commit', 'after'])
  },

  async 'groups are listed, described, reset and deleted'() {
    const topic = await newTopic()
    await write(topic, numbered(10))
    const group = new Group(topic)
    await group.join()
    await eventually(() => group.records.length === 10)
    const { groups } = await admin.listGroups()
    assert.ok(groups.some(g => g.groupId === group.name && g.protocolType === 'consumer'))
    const [described] = (await admin.describeGroups([group.name])).groups
    assert.equal(described.state, 'Stable')
    assert.equal(described.members.length, 1)
    await group.end()
    const offset = async () => (await admin.fetchOffsets({ groupId: group.name, topics: [topic] }))[0].partitions[0].offset
    await admin.resetOffsets({ groupId: group.name, topic, earliest: false })
    assert.equal(await offset(), '-1') // what kafkajs commits for the end
    await admin.setOffsets({ groupId: group.name, topic, partitions: [{ partition: 0, offset: '3' }] })
    assert.equal(await offset(), '3')
    await admin.deleteGroups([group.name])
    assert.ok(!(await admin.listGroups()).groups.some(g => g.groupId === group.name))
  },

  async 'the cluster is described'() {
    const cluster = await admin.describeCluster()
    assert.ok(cluster.clusterId.length > 0)
    assert.ok(cluster.brokers.length > 0)
  },
}

async function bounded(check) {
  const stop = new AbortController()
  const late = sleep(LIMIT_MS, null, { signal: stop.signal }).then(() => assert.fail('it took too long'), () => {})
  try {
    await Promise.race([check(), late])
  } finally {
    stop.abort()
  }
}

async function main() {
  let failed = 0
  await admin.connect()
  for (const [name, check] of Object.entries(checks)) {
    try {
      await bounded(check)
      console.log(`ok   ${name}`)
    } catch (error) {
      failed += 1
      console.log(`FAIL ${name}\n${error.stack}`)
    }
  }
  await admin.disconnect()
  console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`)
  process.exit(failed > 0 ? 1 : 0)
}

main().catch(error => {
  console.error(error)
  process.exit(2)
})
