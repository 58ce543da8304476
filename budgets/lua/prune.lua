#!lua flags=allow-oom
-- Removes rows that say what no row says too: a rate that is free again, or counters that are all zero.
-- KEYS  1 hash   ARGV  1 'rates' or 'counters', then names of rows
-- Answers how many were removed.
local call, tonumber = redis.call, tonumber
local time = call('TIME')
local now, zero = time[1] * 1000000 + time[2], string.rep('\0', 24)
local idle = {}
for i, content in ipairs(call('HMGET', KEYS[1], unpack(ARGV, 2))) do
  if ARGV[1] == 'rates' then
    if content and (tonumber(content) or 0) <= now then idle[#idle + 1] = ARGV[i + 1] end
  elseif content == zero then
    idle[#idle + 1] = ARGV[i + 1]
  end
end
if idle[1] then call('HDEL', KEYS[1], unpack(idle)) end
return #idle
