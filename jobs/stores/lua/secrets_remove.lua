-- prefix, tenant, id -> 1 when there was such a secret
redis.call('ZREM', key('keyring', ARGV[2]), ARGV[3])
return redis.call('DEL', key('keyring', ARGV[2], ARGV[3]))
