#!lua flags=allow-oom
-- Ends the making whole of a shard, after its rows were written from what is recorded: adds what running
-- requests hold, and says since when all is known, and on which server.
-- KEYS  1 meta  2 leases  3 outbox  4 seeding
-- ARGV  1 token  2 the outbox's last id when the sums were made  3 prefix of the shard's names
--       4 prefix of open records
-- Answers LOST (another has the lock), GONE (the server was emptied since), AGAIN (a request ended meanwhile: count
-- it too) or SEEDED.
-- It names hashes that are no keys of the call; all of them carry the shard's tag, so they are in its slot.
local call, ROW = redis.call, '<i8i8i8'
-- use: holds
-- use: place
if call('GET', KEYS[4]) ~= ARGV[1] then return 'LOST' end
if call('HGET', KEYS[1], 'seeder') ~= ARGV[1] then return 'GONE' end
if place(KEYS[3]) ~= ARGV[2] then return 'AGAIN' end
for hash, rows in pairs(holds(KEYS[2], ARGV[3], ARGV[4])) do
  for row, amount in pairs(rows) do
    local s, r, d = 0, 0, 0
    local found = call('HGET', hash, row)
    if found and #found == 24 then s, r, d = struct.unpack(ROW, found) end
    call('HSET', hash, row, struct.pack(ROW, s, amount, d))
  end
end
local time = call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
call('HSET', KEYS[1], 'complete_since', now, 'run_id', string.match(call('INFO', 'server'), 'run_id:(%x+)'))
call('HDEL', KEYS[1], 'unsure', 'seeder')
call('DEL', KEYS[4])
return 'SEEDED'
