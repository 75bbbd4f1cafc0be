-- Sends ready-made requests in turn; they are made by bench/gateway/load.py. REQUESTS: file, separated by zero bytes.
-- PAUSE_MS: before each request of a connection.
local requests = {}
for one in io.open(os.getenv("REQUESTS"), "rb"):read("*a"):gmatch("[^%z]+") do requests[#requests + 1] = one end
local last = 0

request = function()
  last = last % #requests + 1
  return requests[last]
end

local pause = tonumber(os.getenv("PAUSE_MS") or "0")
if pause > 0 then delay = function() return pause end end

done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\n{"requests":%d,"wall_us":%d,"failed":%d,"p50_us":%d,"p99_us":%d,"most_us":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
