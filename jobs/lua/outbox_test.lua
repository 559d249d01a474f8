-- prefix, id, tenant, url: an event of no job, tried once
local id, tenant = ARGV[2], ARGV[3]
post(id, tenant, 'test', ARGV[4], '', '')
schedule(id, tenant, now_ms())
