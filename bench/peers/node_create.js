// What people write by hand: fastify, rate-limiter-flexible, pg. `node node_create.js PORT idempotent|usual`, with
// POSTGRES_DSN and REDIS_URL. No token is checked and there is no second service; the client names itself in a header.
//
// idempotent: one statement, charged once for each Idempotency-Key, a retry is recognized.
// usual: BEGIN, UPDATE, INSERT, COMMIT; a retry is charged twice, or fails on the key if there is one.
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import Redis from 'ioredis'
import pg from 'pg'
import { RateLimiterRedis } from 'rate-limiter-flexible'

const [port, form] = process.argv.slice(2)
const pool = new pg.Pool({ connectionString: process.env.POSTGRES_DSN, max: Number(process.env.POOL_SIZE ?? 20) })
const redis = new Redis(process.env.REDIS_URL, { enableOfflineQueue: true })
const limiter = new RateLimiterRedis({ storeClient: redis, points: 1_000_000, duration: 1, keyPrefix: 'rate' })
const price = 1
// A name makes pg prepare it once on each connection.
const debit = { name: 'debit', text: readFileSync(new URL('debit.sql', import.meta.url), 'utf8') }
const UNIQUE_VIOLATION = '23505'

async function debitOnce(requestId, clientId, planId) {
  try {
    const { rows } = await pool.query({ ...debit, values: [requestId, clientId, planId, price] })
    if (rows.length === 1) return rows[0].at
  } catch (error) {
    if (error.code !== UNIQUE_VIOLATION) throw error // else: the same request at the same time
  }
  const { rows } = await pool.query('SELECT at FROM usage WHERE request_id = $1', [requestId])
  return rows[0]?.at
}

async function debitAsUsual(requestId, clientId, planId) {
  const connection = await pool.connect()
  try {
    await connection.query('BEGIN')
    const { rowCount } = await connection.query({
      name: 'update',
      text: 'UPDATE account SET balance = balance - $2 WHERE client_id = $1 AND balance >= $2',
      values: [clientId, price]
    })
    if (rowCount === 0) {
      await connection.query('ROLLBACK')
      return undefined
    }
    const { rows } = await connection.query({
      name: 'insert',
      text: 'INSERT INTO usage (request_id, client_id, plan_id, credits) VALUES ($1, $2, $3, $4) RETURNING at',
      values: [requestId, clientId, planId, price]
    })
    await connection.query('COMMIT')
    return rows[0].at
  } catch (error) {
    await connection.query('ROLLBACK')
    throw error
  } finally {
    connection.release()
  }
}

const charge = form === 'usual' ? debitAsUsual : debitOnce
const app = Fastify({ logger: false })

const body = {
  type: 'object',
  required: ['planId'],
  additionalProperties: false,
  properties: {
    planId: { type: 'string', minLength: 1 },
    userId: { type: 'string' },
    plannedLessons: { type: 'array', items: { type: 'string' } }
  }
}

app.post('/api/plan-plays', { schema: { body } }, async (request, reply) => {
  const clientId = request.headers['x-client-id']
  const requestId = request.headers['idempotency-key']
  try {
    await limiter.consume(clientId)
  } catch (refusal) {
    if (refusal instanceof Error) throw refusal
    return reply.code(429).header('Retry-After', Math.ceil(refusal.msBeforeNext / 1000)).send({ error: 'Too many' })
  }
  const at = await charge(requestId, clientId, request.body.planId)
  if (at === undefined) return reply.code(429).send({ error: 'No credits left' })
  const { planId, userId = null, plannedLessons = [] } = request.body
  return reply.code(201).send({ data: { id: requestId, planId, clientId, userId, plannedLessons, createdAt: at } })
})

await app.listen({ port: Number(port), host: '127.0.0.1' })
process.on('SIGTERM', () => process.exit(0))
