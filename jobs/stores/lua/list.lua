-- prefix, tenant, highest sequence number, limit, status or '', most entries to look at, kind or ''
--   -> {sequence number of the last entry looked at or false when there are no more, snapshots}
-- Entries of another status or kind, or whose record has expired are skipped, so a page may be short and still have a successor.
local tenant, highest, limit, status, most = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local kind = ARGV[7]
local chunk, items, looked, last = 100, {}, 0, nil
while true do
  local entries = redis.call('ZREVRANGEBYSCORE', key('index', tenant), highest, '-inf', 'WITHSCORES', 'LIMIT', 0, chunk)
  for i = 1, #entries, 2 do
    if #items == limit or looked == most then return {last, items} end
    looked, last = looked + 1, entries[i + 1]
    local fits = (status == '' or field(entries[i], 'status') == status)
      and (kind == '' or field(entries[i], 'kind') == kind)
    local item = fits and snapshot(entries[i])
    if item then items[#items + 1] = item end
  end
  if #entries < chunk * 2 then return {false, items} end
  highest = '(' .. last
end
