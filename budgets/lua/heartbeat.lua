#!lua flags=allow-oom
-- Renews the leases of one worker on one shard and notes what each request has cost so far.
-- KEYS  1 leases, then open records
-- ARGV  1 owner  2 lease ms, then for each record: request id, cost so far (nano-USD)
-- Answers two lists of request ids: those that have ended or are another's (the worker must stop them), and
-- those that nothing is known of (the server lost its memory; the worker puts them back).
local call = redis.call
local time = call('TIME')
local renewed = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]))
local lost, missing = {}, {}
for i = 2, #KEYS do
  local id, cost = ARGV[2 * i - 1], ARGV[2 * i]
  local record = redis.pcall('HMGET', KEYS[i], 'owner', 'ck')
  if not record.err and not record[1] then
    missing[#missing + 1] = id
  elseif record.err or record[1] ~= ARGV[1] then
    lost[#lost + 1] = id
  else
    call('HINCRBY', KEYS[i], 'hb', '1')
    if tonumber(cost) > tonumber(record[2] or '0') then call('HSET', KEYS[i], 'ck', cost) end
    call('ZADD', KEYS[1], renewed, id)
  end
end
return {lost, missing}
