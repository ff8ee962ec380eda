-- Requests for wrk: `-- read <file of paths>` or `-- create <path> <file of bodies> <word>`.
-- The word keeps the external ids of one run apart from those of any other.

local lines, mode, path, word = {}, "", "", ""
local sent = 0

function init(args)
  mode = args[1]
  local file = args[2]
  if mode == "create" then
    path, file, word = args[2], args[3], args[4]
    wrk.headers["Content-Type"] = "application/json"
    wrk.headers["Prefer"] = "return=representation"
  end
  for line in io.lines(file) do lines[#lines + 1] = line end
  wrk.headers["Accept"] = args[#args]
  math.randomseed(os.time())
end

function request()
  local line = lines[math.random(#lines)]
  if mode == "read" then return wrk.format("GET", line) end
  sent = sent + 1
  return wrk.format("POST", path, nil, (line:gsub("@unique@", word .. sent)))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"bytes":%d,"failed":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
