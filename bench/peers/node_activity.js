// The same work as ours, as a strong team writes it by hand: the activity half. `node node_activity.js PORT`, with
// POSTGRES_DSN, METERING_URL and JWKS_URL. ES256 tokens through fast-jwt's cache, schema validation, one call to metering
// through undici, play and outbox in one statement, settles behind, up to 500 at once. A play's id is made from its key.
import { createHash, createPublicKey, randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { createVerifier } from 'fast-jwt'
import pg from 'pg'
import { Pool } from 'undici'

const pool = new pg.Pool({ connectionString: process.env.POSTGRES_DSN, max: 16 })
const metering = new Pool(process.env.METERING_URL, { connections: 32, pipelining: 1 })
const jwks = await (await fetch(process.env.JWKS_URL)).json()
const key = createPublicKey({ key: jwks.keys[0], format: 'jwk' }).export({ type: 'spki', format: 'pem' })
const verify = createVerifier({ key, algorithms: ['ES256'], cache: 10_000 })

const insert = {
  name: 'insert',
  text: `WITH play AS (
      INSERT INTO plan_play (id, client_id, user_id, plan_id, status, planned_lessons, email, created_at, updated_at,
                             fingerprint)
      VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $7, $8) ON CONFLICT DO NOTHING RETURNING id)
    INSERT INTO outbox (hold_id, event_id, client_id, created_at) SELECT $9, $10, $2, $7 FROM play`
}
const find = { name: 'find', text: 'SELECT * FROM plan_play WHERE id = $1' }
const forget = { name: 'forget', text: 'DELETE FROM outbox WHERE hold_id = ANY ($1::uuid[])' }

async function post (path, body) {
  const { statusCode, body: answer } = await metering.request({
    path, method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body)
  })
  return { statusCode, document: await answer.json() }
}

let committed = []
let isSettling = false
async function relay () {
  while (committed.length) {
    const holdIds = committed.splice(0, 500)
    const { statusCode } = await post('/settle', { holdIds })
    if (statusCode !== 200) throw new Error(`settle was answered ${statusCode}`)
    await pool.query({ ...forget, values: [holdIds] })
  }
  isSettling = false
}
function settleSoon (holdId) {
  committed.push(holdId)
  if (!isSettling) {
    isSettling = true
    setTimeout(relay, 20) // one at a time: two would lock accounts in different orders
  }
}

function makeId (text) {
  const hex = createHash('sha1').update(text).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

const text = { type: 'string', maxLength: 200 }
const schema = {
  body: {
    type: 'object',
    required: ['planId'],
    additionalProperties: false,
    properties: {
      planId: text, userId: text, plannedLessons: { type: 'array', items: text }, email: text, displayName: text,
      photoURL: text, assignmentSource: text, riskLevel: text
    }
  }
}
const app = Fastify()
app.post('/api/plan-plays', { schema }, async (request, reply) => {
  let clientId
  try {
    clientId = verify(request.headers.authorization.slice(7)).client_id
  } catch {
    return reply.code(401).send({ error: 'Unauthorized' })
  }
  const body = request.body
  const idempotencyKey = request.headers['idempotency-key']
  const id = idempotencyKey ? makeId(`${clientId}\0${body.userId ?? ''}\0${idempotencyKey}`) : randomUUID()
  const eventId = `plan_play.created:${id}`
  const { statusCode, document } = await post('/authorize', { holdId: randomUUID(), eventId, clientId, price: 1 })
  if (statusCode !== 200) return reply.code(statusCode >= 500 ? 500 : 429).send({ error: 'refused' })
  const now = new Date().toISOString()
  const play = {
    id, planId: body.planId, clientId, userId: body.userId ?? null, status: 'active',
    plannedLessons: body.plannedLessons ?? [], currentLessonIndex: 0, completedLessons: [], completedLessonPlays: [],
    totalLessonsCompleted: 0, email: body.email ?? null, displayName: body.displayName ?? null,
    photoURL: body.photoURL ?? null, assignmentSource: body.assignmentSource ?? null, riskLevel: body.riskLevel ?? null,
    createdAt: now, updatedAt: now, lastPlayedAt: null, completedAt: null
  }
  const fingerprint = createHash('sha256').update(JSON.stringify(body)).digest()
  const { rowCount } = await pool.query({
    ...insert,
    values: [id, clientId, play.userId, play.planId, play.plannedLessons, play.email, now, fingerprint,
      document.holdId, eventId]
  })
  if (rowCount === 0) {
    const { rows } = await pool.query({ ...find, values: [id] })
    return reply.code(201).send({ data: { ...play, createdAt: rows[0].created_at, updatedAt: rows[0].created_at } })
  }
  settleSoon(document.holdId)
  return reply.code(201).send({ data: play })
})
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) })
