-- The generic cell rate algorithm (ITU-T I.371) for a batch of requests.
-- KEYS[i]: the bucket of request i; a bucket may come more than once.
-- ARGV[2i-1]: microseconds in which one request's worth comes back. ARGV[2i]: burst, in requests.
-- Answers per request: how many of the burst were in use before it, when it passes (0 or more);
-- or minus the microseconds until it would pass.
-- A bucket holds one number, the theoretical arrival time in microseconds of the server's own clock.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local interval = tonumber(ARGV[2 * i - 1])
  local burst = tonumber(ARGV[2 * i])
  local arrival = math.max(tonumber(redis.call('GET', key) or 0), now)
  local wait = arrival + interval - burst * interval - now
  if wait > 0 then
    answers[i] = -wait
  else
    answers[i] = math.ceil((arrival - now) / interval)
    arrival = arrival + interval
    redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
  end
end
return answers
