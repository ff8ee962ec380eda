-- Requests for wrk: `-- <file> <draw|once> <word>`. The headers of all requests come with `-H`.
--
-- Each line of the file is a request: its method, path, If-Match and body, with tabs between them,
-- and unit separators in the place of a body's line ends.
-- `draw` takes lines at random, `once` takes each of them once and in order. The word replaces
-- `@unique@` in bodies, with a number behind it: it keeps the requests of one run apart from those
-- of any other.

local requests, word = {}, ""
local once, sent = false, 0

local function headers_with(match)
  if match == "" then return nil end
  local headers = { ["If-Match"] = match }
  for name, value in pairs(wrk.headers) do headers[name] = value end
  return headers
end

function init(args)
  once, word = args[2] == "once", args[3]
  for line in io.lines(args[1]) do
    local method, path, match, body = line:match("^(.-)\t(.-)\t(.-)\t(.*)$")
    body = body:gsub("\31", "\n")
    local request = { method = method, path = path, headers = headers_with(match), body = body }
    if not body:find("@unique@", 1, true) then
      request.ready = wrk.format(method, path, request.headers, body ~= "" and body or nil)
    end
    requests[#requests + 1] = request
  end
  math.randomseed(os.time())
end

function request()
  sent = sent + 1
  local chosen = once and requests[sent] or requests[math.random(#requests)]
  if chosen.ready then return chosen.ready end
  local body = chosen.body:gsub("@unique@", word .. sent)
  return wrk.format(chosen.method, chosen.path, chosen.headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"bytes":%d,"failed":%d,"mean":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency.mean, latency:percentile(50), latency:percentile(99)))
end
