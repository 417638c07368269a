-- What every script of wrk here shares: parameters, ids that never repeat, a skewed choice of clients, one line of results.

parameters = {}

function read_parameters(arguments)
  for _, word in ipairs(arguments) do
    local name, value = word:match("^([^=]+)=(.*)$")
    if name then parameters[name] = value end
  end
  local seed = tonumber(parameters.seed) or 1
  math.randomseed(seed)
  run = seed % 0x7fffffff
  sent = 0
  prepare_clients(tonumber(parameters.clients) or 1)
end

-- A UUID of version 7's shape: the run, then a number that only grows.
function fresh_uuid()
  sent = sent + 1
  return string.format("%08x-0000-7000-8000-%012x", run, sent)
end

-- Zipf with exponent 1: the cumulative weights once, then a search per request.
function prepare_clients(count)
  cumulated = {}
  local sum = 0
  for rank = 1, count do
    sum = sum + 1 / rank
    cumulated[rank] = sum
  end
  total = sum
end

function choose_client()
  local low, high = 1, #cumulated
  local wanted = math.random() * total
  while low < high do
    local middle = math.floor((low + high) / 2)
    if cumulated[middle] < wanted then low = middle + 1 else high = middle end
  end
  return low
end

function read_lines(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  return lines
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "status_errors": %d, "connect_errors": %d, "read_errors": %d, ' ..
    '"write_errors": %d, "timeouts": %d, "p50_microseconds": %d, "p99_microseconds": %d}\n',
    summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
