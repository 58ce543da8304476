-- Reads rows together with the outbox's last id: what has ended by then is in the rows, and nothing else.
-- KEYS  1 outbox  2 hash, to walk over; or the hash of each row that is asked for (a hash may come again)
-- ARGV  1 cursor and 2 how many; or 1 '' and then each row's name
-- Answers the last id, the next cursor ('' without a walk), and names and contents in turn, or contents.
-- use: place
if ARGV[1] ~= '' then
  local found = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
  return {place(KEYS[1]), found[1], found[2]}
end
local contents = {}
for k = 2, #KEYS do contents[k - 1] = redis.call('HGET', KEYS[k], ARGV[k]) end
return {place(KEYS[1]), '', contents}
