// The same work as ours, as a strong team writes it by hand: the metering half. `node node_metering.js PORT`, with
// POSTGRES_DSN and REDIS_URL. One statement a call, one call a request; holds move into the ledger as ours do.
import Fastify from 'fastify'
import Redis from 'ioredis'
import pg from 'pg'
import { RateLimiterRedis } from 'rate-limiter-flexible'

const pool = new pg.Pool({ connectionString: process.env.POSTGRES_DSN, max: 16 })
const redis = new Redis(process.env.REDIS_URL)
const limiter = new RateLimiterRedis({ storeClient: redis, points: 1e9, duration: 60, keyPrefix: 'same' })
// A name makes pg prepare it once on each connection.
const hold = {
  name: 'hold',
  text: `WITH known AS (SELECT hold_id FROM hold WHERE event_id = $2
                        UNION ALL SELECT hold_id FROM ledger WHERE event_id = $2),
    taken AS (UPDATE account SET held = held + $4 WHERE client_id = $3 AND granted - spent - held >= $4
              AND NOT EXISTS (SELECT FROM known) RETURNING client_id),
    made AS (INSERT INTO hold (hold_id, event_id, client_id, credits) SELECT $1, $2, $3, $4 FROM taken RETURNING hold_id)
    SELECT coalesce((SELECT hold_id FROM made), (SELECT hold_id FROM known LIMIT 1)) AS hold_id`
}
const settle = {
  name: 'settle',
  text: `WITH gone AS (DELETE FROM hold WHERE hold_id = ANY ($1::uuid[]) RETURNING hold_id, event_id, client_id, credits),
    line AS (INSERT INTO ledger (client_id, event_id, hold_id, credits)
             SELECT client_id, event_id, hold_id, -credits FROM gone),
    moved AS (UPDATE account SET held = held - sums.credits, spent = spent + sums.credits
              FROM (SELECT client_id, sum(credits) AS credits FROM gone GROUP BY 1 ORDER BY 1) AS sums
              WHERE account.client_id = sums.client_id)
    SELECT 1`
}

const app = Fastify()
app.post('/authorize', async (request, reply) => {
  const { holdId, eventId, clientId, price } = request.body
  try {
    await limiter.consume(clientId, 1)
  } catch (refused) {
    if (refused instanceof Error) throw refused
    return reply.code(429).send({ code: 'rate' })
  }
  const { rows } = await pool.query({ ...hold, values: [holdId, eventId, clientId, price] })
  if (rows[0].hold_id === null) return reply.code(402).send({ code: 'balance' })
  return { holdId: rows[0].hold_id }
})
app.post('/settle', async request => {
  await pool.query({ ...settle, values: [request.body.holdIds] })
  return { settled: request.body.holdIds.length }
})
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) })
