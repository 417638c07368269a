-- The generic cell rate algorithm for a batch of requests, as gcra.py specifies it.
-- KEYS[i]: a bucket, once each.
-- ARGV[1]: 1 to take places, 0 only to look.
-- ARGV[5i-3 ...]: whole microseconds and ticks in which one request's worth comes back; ticks in a microsecond; whole
-- microseconds and ticks in which all of the burst does.
-- Then the requests: of each, in how many buckets it takes a place, and which.
-- Returns for each request how many seconds it would have to wait, 0 when it passes, and how much of each of its buckets was in
-- use before it. It takes its places in all of them or in none.
-- A bucket holds 'microseconds:ticks', the theoretical arrival time by the server's own clock.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local buckets = {}
for i, key in ipairs(KEYS) do
  local at = 5 * i - 3
  local b = {
    interval = tonumber(ARGV[at]), interval_ticks = tonumber(ARGV[at + 1]), limit = tonumber(ARGV[at + 2]),
    burst = tonumber(ARGV[at + 3]), burst_ticks = tonumber(ARGV[at + 4]), waiting = 0, passed = 0}
  local micros, ticks = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  micros, ticks = tonumber(micros or 0), tonumber(ticks or 0)
  if micros < now then
    micros, ticks = now, 0
  elseif micros - now > b.burst or (micros - now == b.burst and ticks > b.burst_ticks) then
    micros, ticks = now + b.burst, b.burst_ticks
  end
  b.micros, b.ticks = micros, ticks
  -- Doubles may put a whole number of intervals a little above itself: the quotient says which one it is or which it is
  -- just above, and the integers decide.
  b.used = math.ceil((micros - now + ticks / b.limit) / (b.interval + b.interval_ticks / b.limit) - 1e-9)
  local rest = b.used * b.interval_ticks % b.limit
  local whole = b.used * b.interval + (b.used * b.interval_ticks - rest) / b.limit
  if micros - now > whole or (micros - now == whole and ticks > rest) then
    b.used = b.used + 1
  end
  buckets[i] = b
end
-- By how much the arrival `requests` later is beyond what the burst allows: whole microseconds and ticks.
local function excess(b, requests)
  local ticks = b.ticks + requests * b.interval_ticks
  local carry = (ticks - ticks % b.limit) / b.limit
  local micros, rest = b.micros + requests * b.interval + carry - b.burst - now, ticks % b.limit - b.burst_ticks
  if rest < 0 then
    micros, rest = micros - 1, rest + b.limit
  end
  return micros, rest
end
local results = {}
local at = 5 * #KEYS + 2
while at <= #ARGV do
  local first, last = at + 1, at + tonumber(ARGV[at])
  local seconds, place = 0, #results + 1
  results[place] = 0
  for j = first, last do
    local b = buckets[tonumber(ARGV[j])]
    local micros, ticks = excess(b, 1)
    if micros > 0 or (micros == 0 and ticks > 0) then
      micros, ticks = excess(b, 1 + b.waiting)
      if ticks > 0 then
        micros = micros + 1
      end
      local rest = micros % 1000000
      seconds = math.max(seconds, (micros - rest) / 1000000 + (rest > 0 and 1 or 0))
      b.waiting = b.waiting + 1
    end
    results[#results + 1] = b.used
  end
  results[place] = seconds
  if seconds == 0 then
    for j = first, last do
      local b = buckets[tonumber(ARGV[j])]
      b.ticks = b.ticks + b.interval_ticks
      b.micros = b.micros + b.interval
      if b.ticks >= b.limit then
        b.micros, b.ticks = b.micros + 1, b.ticks - b.limit
      end
      b.used, b.passed = b.used + 1, b.passed + 1
    end
  end
  at = last + 1
end
if ARGV[1] == '1' then
  for i, key in ipairs(KEYS) do
    local b = buckets[i]
    if b.passed > 0 then
      redis.call('SET', key, string.format('%.0f:%.0f', b.micros, b.ticks), 'PX', math.ceil((b.micros - now) / 1000) + 1000)
    end
  end
end
return results
