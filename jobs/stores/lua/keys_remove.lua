-- prefix, id -> 1 when there was such a key
redis.call('ZREM', key('keys'), ARGV[2])
return redis.call('DEL', key('key', ARGV[2]))
