-- POST /internal/events/authorize, parameters.events fresh events a request; parameters.path for another path.
require("frame")

function init(arguments)
  read_parameters(arguments)
  path = parameters.path or "/internal/events/authorize"
  events = tonumber(parameters.events) or 1
  headers = {["Authorization"] = "Bearer " .. parameters.key, ["Content-Type"] = "application/json"}
end

function request()
  local list = {}
  for index = 1, events do
    local id = fresh_uuid()
    list[index] = '{"holdId":"' .. id .. '","eventId":"plan_play.created:' .. id ..
      '","clientId":"client-' .. choose_client() .. '","eventType":"plan_play.created","units":1}'
  end
  return wrk.format("POST", path, headers, '{"events":[' .. table.concat(list, ",") .. "]}")
end
