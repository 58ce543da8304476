#!lua flags=allow-oom
-- Writes rows of a shard that is being made whole. Only who holds the lock may: one that was paused must not
-- write over what has been counted since.
-- KEYS  1 seeding  2 meta, then hashes
-- ARGV  1 token  2 lock ms  3 at first, when the shard ceases to be whole: a field that its meta hash must have,
--       or '-'; later ''
--       then for each hash: the number of its rows (0: forget the hash), when it expires (ms; 0 never, -1 40
--       days from now), and each row's name and content
-- Answers OK, LOST (the lock is gone), WHOLE (another one has finished) or GONE (the server was emptied since the
-- field was set, or since the first call: what was written before is not there).
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local RETENTION_MS = 3456000000 -- 40 days
if call('GET', KEYS[1]) ~= ARGV[1] then return 'LOST' end
call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then
  if ARGV[3] ~= '-' and call('HEXISTS', KEYS[2], ARGV[3]) == 0 then return 'GONE' end
  call('HDEL', KEYS[2], 'complete_since')
  call('HSET', KEYS[2], 'seeder', ARGV[1])
elseif call('HEXISTS', KEYS[2], 'complete_since') == 1 then
  return 'WHOLE'
elseif call('HGET', KEYS[2], 'seeder') ~= ARGV[1] then
  return 'GONE'
end
local at = 4
for k = 3, #KEYS do
  local count, ends = tonumber(ARGV[at]), ARGV[at + 1]
  if count == 0 then
    call('UNLINK', KEYS[k])
  else
    call('HSET', KEYS[k], unpack(ARGV, at + 2, at + 1 + 2 * count))
    if ends == '-1' then call('PEXPIRE', KEYS[k], RETENTION_MS)
    elseif ends ~= '0' then call('PEXPIREAT', KEYS[k], tonumber(ends) + RETENTION_MS) end
  end
  at = at + 2 + 2 * count
end
return 'OK'
