-- Gives found(hash, row, amount) for each row on which an open record (its rows, held, meters) holds something.
-- A record names hashes without the shard's prefix `base`.
local function each_hold(record, base, found)
  local words, amounts, m = {}, {}, 0
  for word in string.gmatch(record[1], '[^\30]+') do words[#words + 1] = word end
  for amount in string.gmatch(record[2] or '', '%d+') do
    m = m + 1
    amounts[string.byte(record[3] or '', m) or 0] = tonumber(amount)
  end
  local shape, hashes = words[1], tonumber(words[2]) or 0
  for i = 1, #shape / 3 do
    local h, letter = string.byte(shape, 3 * i - 2, 3 * i - 1)
    local hash, row = words[h - 45], words[2 + hashes + i]
    if letter ~= 113 and letter ~= 107 and hash and row and amounts[letter] then -- rates hold nothing
      found(base .. hash, row, amounts[letter])
    end
  end
end
