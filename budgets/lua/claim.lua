#!lua
-- Claims an idempotency key for a request, or tells what became of the request that has it.
-- KEYS  1 claim
-- ARGV  1 request id  2 digest of its body  3 how long the claim is kept (ms)  4 prefix of open records
--       5 how long after its claim a request may take to open (ms)
-- A claim: id, body, at (ms), and when its request has ended: status, cost (nano-USD, '' unknown).
-- Answers {NEW}; {OTHER, id}: it stands for another body; {RUNNING, id}; {ENDED, id, status, cost}.
-- A request that ended without its worker telling so here has left a marker for some minutes (close.lua). Without
-- one it never opened, or ended unheard long ago: the key is free again.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local was = call('HMGET', KEYS[1], 'id', 'body', 'at', 'status', 'cost')
if was[1] then
  local id, status, cost = was[1], was[4], was[5]
  local kind = not status and call('TYPE', ARGV[4] .. id).ok
  if kind == 'string' then
    status, cost = call('GET', ARGV[4] .. id), ''
    call('HSET', KEYS[1], 'status', status, 'cost', cost)
  end
  if status or kind == 'hash' or now - was[3] < tonumber(ARGV[5]) then
    if was[2] ~= ARGV[2] then return {'OTHER', id} end
    if status then return {'ENDED', id, status, cost} end
    return {'RUNNING', id}
  end
  call('DEL', KEYS[1])
end
call('HSET', KEYS[1], 'id', ARGV[1], 'body', ARGV[2], 'at', string.format('%.0f', now))
call('PEXPIRE', KEYS[1], ARGV[3])
return {'NEW'}
