-- POST /api/plan-plays, each with an Idempotency-Key of its own. parameters.tokens: a file with a token for each client,
-- in a line; parameters.keys: one with gringotts' keys; without either the client names itself, as the peers have it.
require("frame")

function init(arguments)
  read_parameters(arguments)
  local tokens = parameters.tokens and read_lines(parameters.tokens)
  local keys = parameters.keys and read_lines(parameters.keys)
  names = {}
  for number = 1, tonumber(parameters.clients) or 1 do
    names[number] = tokens and {"Authorization", "Bearer " .. tokens[number]}
      or keys and {"X-API-Key", keys[number]}
      or {"X-Client-Id", "client-" .. number}
  end
end

function request()
  local id = fresh_uuid()
  local who = names[choose_client()]
  local headers = {["Content-Type"] = "application/json", ["Idempotency-Key"] = id, [who[1]] = who[2]}
  return wrk.format("POST", "/api/plan-plays", headers, '{"planId":"plan-abc-123","plannedLessons":["one","two"]}')
end
