-- How often this host lost a device lately, and the newest message.
SELECT count(*), (array_agg(message ORDER BY lost_at DESC))[1]
FROM sum_assets.device_loss
WHERE host = %(host)s AND device = %(device)s
  AND lost_at > clock_timestamp() - make_interval(secs => %(seconds)s);
