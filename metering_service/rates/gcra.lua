-- The generic cell rate algorithm for a batch of requests, as gcra.py specifies it.
-- KEYS[i]: a bucket, once each.
-- ARGV[6i-5 ...]: whole microseconds and ticks in which one request's worth comes back; ticks in a microsecond; whole
-- microseconds and ticks in which all of the burst does; how many requests there are now.
-- Returns four numbers a bucket: how much of the burst was in use before, how many of the requests pass (the first ones), and
-- in how many microseconds and ticks the first of the others would, 0 when there is none.
-- A bucket holds 'microseconds:ticks', the theoretical arrival time by the server's own clock.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local results = {}
for i, key in ipairs(KEYS) do
  local at = 6 * i - 5
  local interval, interval_ticks, limit = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local burst, burst_ticks, requests = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local micros, ticks = string.match(redis.call('GET', key) or '', '^(%d+):(%d+)$')
  micros, ticks = tonumber(micros or 0), tonumber(ticks or 0)
  if micros < now then
    micros, ticks = now, 0
  elseif micros - now > burst or (micros - now == burst and ticks > burst_ticks) then
    micros, ticks = now + burst, burst_ticks
  end
  -- Doubles may put a whole number of intervals a little above itself.
  local used = math.ceil((micros - now + ticks / limit) / (interval + interval_ticks / limit) - 1e-9)
  local passed, wait, wait_ticks = 0, 0, 0
  for _ = 1, requests do
    local next_micros, next_ticks = micros + interval, ticks + interval_ticks
    if next_ticks >= limit then
      next_micros, next_ticks = next_micros + 1, next_ticks - limit
    end
    wait, wait_ticks = next_micros - burst - now, next_ticks - burst_ticks
    if wait_ticks < 0 then
      wait, wait_ticks = wait - 1, wait_ticks + limit
    end
    if wait > 0 or (wait == 0 and wait_ticks > 0) then
      break
    end
    wait, wait_ticks = 0, 0
    passed = passed + 1
    micros, ticks = next_micros, next_ticks
  end
  if passed > 0 then
    redis.call('SET', key, string.format('%.0f:%.0f', micros, ticks), 'PX', math.ceil((micros - now) / 1000) + 1000)
  end
  results[4 * i - 3], results[4 * i - 2], results[4 * i - 1], results[4 * i] = used, passed, wait, wait_ticks
end
return results
