-- POST /get-plans of one client, gzip accepted unless parameters.encoding says otherwise.
require("frame")

function init(arguments)
  read_parameters(arguments)
  local headers = {["Content-Type"] = "application/json", ["Accept-Encoding"] = parameters.encoding or "gzip"}
  if parameters.token then headers["Authorization"] = "Bearer " .. parameters.token end
  ready = wrk.format("POST", "/get-plans", headers, "{}")
end

function request() return ready end
