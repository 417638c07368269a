-- The generic cell rate algorithm for a batch of requests, as gcra.py specifies it.
-- KEYS[i]: a bucket, once each.
-- ARGV[3i-2]: microseconds in which one request's worth comes back. ARGV[3i-1]: burst, in requests.
-- ARGV[3i]: how many requests there are now.
-- Returns three numbers a bucket: how much of the burst was in use before, how many of the requests pass (the first
-- ones), and in how many microseconds the first of the others would, 0 when there is none.
-- A bucket holds one number, the theoretical arrival time in microseconds of the server's own clock.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local results = {}
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[3 * i - 2])
  local burst = tonumber(ARGV[3 * i - 1])
  local arrival = math.max(tonumber(redis.call('GET', key) or 0), now)
  local used = math.ceil((arrival - now) / interval)
  local passed, wait = 0, 0
  for _ = 1, tonumber(ARGV[3 * i]) do
    wait = math.max(arrival + interval - burst * interval - now, 0)
    if wait > 0 then
      break
    end
    passed = passed + 1
    arrival = arrival + interval
  end
  if passed > 0 then
    redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
  end
  results[3 * i - 2], results[3 * i - 1], results[3 * i] = used, passed, wait
end
return results
