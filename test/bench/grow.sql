-- Fills the table on the server with bench.rows rows of today: random ids, sealed values of the right lengths that nobody
-- can open, and tokens shared out as bench.as says. The table holds a few thousand ingested rows already, whose tokens
-- are the ones that come again.
CREATE TEMPORARY TABLE seed AS
  SELECT row_number() OVER () AS n, masked_ip_v1 AS ip, masked_device_id_v1 AS device FROM cloakroom_data.user_logins;
ANALYZE seed;

INSERT INTO cloakroom_data.user_logins
  (row_id, sent, create_date, user_id, device_type, locale, app_version, app_version_text,
   sealed_ip, sealed_device_id, masked_ip_v1, masked_device_id_v1, data_key)
SELECT gen_random_uuid(), date_trunc('day', now(), 'UTC') + i * interval '1 microsecond', (now() AT TIME ZONE 'UTC')::date, gen_random_uuid()::text, 'android', 'RU', 2003000, '2.3.0',
       '\x01'::bytea || int4send(k.id) || noise || noise || substring(noise for 12),
       '\x01'::bytea || int4send(k.id) || noise || substring(noise for 28),
       coalesce(seed.ip, translate(encode(substring(noise for 16), 'base64'), '+/=', '-_')),
       coalesce(seed.device, translate(encode(substring(noise from 17), 'base64'), '+/=', '-_')),
       k.id
  FROM (SELECT max(id) AS id FROM cloakroom.data_keys WHERE state = 'active') AS k
 CROSS JOIN (
       SELECT sha256(random()::text::bytea || i::text::bytea) AS noise, i,
              CASE current_setting('bench.as')
                WHEN 'hot' THEN CASE WHEN random() < 0.2 THEN hottest.n END
                WHEN 'zipf' THEN 1 + floor(random() * hottest.seeds)::bigint
              END AS pick
         FROM generate_series(1, current_setting('bench.rows')::integer) AS i,
              (SELECT min(seed.n) AS n, sum(count(*)) OVER () AS seeds FROM seed GROUP BY device ORDER BY count(*) DESC LIMIT 1) AS hottest
       OFFSET 0) AS made
  LEFT JOIN seed ON seed.n = made.pick;

DROP TABLE seed;
