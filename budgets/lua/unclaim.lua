#!lua flags=allow-oom
-- Tells a claim how its request ended, or gives the key back.
-- KEYS  1 claim
-- ARGV  1 request id  2 status, '' to give it back  3 cost (nano-USD, '' unknown)  4 how long it is kept (ms)
-- Another request's claim stays as it is.
local call = redis.call
if call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return call('DEL', KEYS[1]) end
call('HSET', KEYS[1], 'status', ARGV[2], 'cost', ARGV[3])
return call('PEXPIRE', KEYS[1], ARGV[4])
