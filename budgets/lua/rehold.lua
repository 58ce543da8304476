#!lua flags=allow-oom
-- Sets what rows say is reserved to what open records hold on them.
-- KEYS  1 leases, then each row's hash (a hash may come again)
-- ARGV  1 prefix of the shard's names  2 prefix of open records  3 so many open requests at most, because it
--       reads all of them in one step, then each row's name
-- Answers what each row had too much (decimal, negative: too little), or nothing when too many run.
local call, KEYS, ARGV = redis.call, KEYS, ARGV
local ROW = '<i8i8i8'
-- use: holds
if call('ZCARD', KEYS[1]) > tonumber(ARGV[3]) then return false end
local held, surplus = holds(KEYS[1], ARGV[1], ARGV[2]), {}
for k = 2, #KEYS do
  local hash, name = KEYS[k], ARGV[k + 2]
  local amount = held[hash] and held[hash][name] or 0
  local row = call('HGET', hash, name)
  local s, r, d = 0, 0, 0
  if row and #row == 24 then s, r, d = struct.unpack(ROW, row) end
  if r ~= amount or (row and #row ~= 24) then
    call('HSET', hash, name, struct.pack(ROW, s, amount, d))
  end
  surplus[k - 1] = string.format('%.0f', r - amount)
end
return surplus
