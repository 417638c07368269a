-- GET parameters.path, the same again and again.
require("frame")

function init(arguments)
  read_parameters(arguments)
  local headers = {}
  if parameters.key then headers["Authorization"] = "Bearer " .. parameters.key end
  ready = wrk.format("GET", parameters.path or "/", headers)
end

function request() return ready end
