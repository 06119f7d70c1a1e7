-- widen: status takes longer values
-- protect: relay is sealed from now on, then in the rows that are there; its column in clear is dropped
-- drop_index: index domain of email is dropped; the sealed values stay

-- owner: prepare the table []
ALTER TABLE cloakroom_data."orders" ADD COLUMN "sealed_relay" bytea;
ALTER TABLE cloakroom_data."orders" ADD COLUMN "relay__network" cidr;
ALTER TABLE cloakroom_data."orders" ADD COLUMN "masked_relay_v1" varchar(256) COLLATE "C";
CREATE INDEX "orders_masked_relay_v1" ON ONLY cloakroom_data."orders" ("masked_relay_v1");
ALTER TABLE cloakroom_data."orders" DROP CONSTRAINT IF EXISTS "masked_email__domain_v1";

-- owner: widen columns, and make the views again []
DO $cloakroom$
DECLARE
  grants text[];
  statement text;
BEGIN
  SELECT array_agg(g.statement) INTO grants FROM (
    SELECT format('GRANT %s ON public.%I TO %s%s', a.privilege_type, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
      FROM pg_class AS c, aclexplode(c.relacl) AS a
     WHERE c.oid IN (to_regclass('public."orders"'), to_regclass('public."orders_duplicates"')) AND a.grantee <> c.relowner
    UNION ALL
    SELECT format('GRANT %s (%I) ON public.%I TO %s%s', a.privilege_type, t.attname, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
     WHERE c.oid IN (to_regclass('public."orders"'), to_regclass('public."orders_duplicates"')) AND a.grantee <> c.relowner
       AND (c.relname <> 'orders' OR t.attname = ANY ('{order_id,customer_id,placed_at,amount,items,gift,deliver_on,status,coupon,shop_app,tags,relay,masked_email,masked_email__domain,masked_card,masked_card__prefix6,card__last4,masked_client,masked_client__prefix24,client__network,masked_born_on,create_date}'::name[]))) AS g;
  DROP VIEW IF EXISTS public."orders_duplicates";
  DROP VIEW IF EXISTS public."orders";
  ALTER TABLE cloakroom_data."orders" ALTER COLUMN "status" TYPE varchar(20);
  CREATE VIEW public."orders" AS
    SELECT r."order_id",
           r."customer_id",
           r."placed_at",
           r."amount",
           r."items",
           r."gift",
           r."deliver_on",
           r."status",
           r."coupon",
           r."shop_app",
           r."tags",
           r."relay",
           r."masked_email_v1" AS "masked_email",
           r."masked_email__domain_v1" AS "masked_email__domain",
           r."masked_card_v1" AS "masked_card",
           r."masked_card__prefix6_v1" AS "masked_card__prefix6",
           r."card__last4",
           r."masked_client_v1" AS "masked_client",
           r."masked_client__prefix24_v1" AS "masked_client__prefix24",
           r."client__network",
           r."masked_born_on_v1" AS "masked_born_on",
           r."create_date"
      FROM cloakroom_data."orders" AS r;
  COMMENT ON VIEW public."orders" IS 'events of dataset order as analysts see them: tokens where personal data was';
  CREATE VIEW public."orders_duplicates" AS
    SELECT 'email'::text AS field, 'exact'::text AS index, "masked_email" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_email" <> '-'
     GROUP BY "masked_email" HAVING count(*) > 1
    UNION ALL
    SELECT 'email'::text AS field, 'domain'::text AS index, "masked_email__domain" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_email__domain" <> '-'
     GROUP BY "masked_email__domain" HAVING count(*) > 1
    UNION ALL
    SELECT 'card'::text AS field, 'exact'::text AS index, "masked_card" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_card" <> '-'
     GROUP BY "masked_card" HAVING count(*) > 1
    UNION ALL
    SELECT 'card'::text AS field, 'prefix/6'::text AS index, "masked_card__prefix6" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_card__prefix6" <> '-'
     GROUP BY "masked_card__prefix6" HAVING count(*) > 1
    UNION ALL
    SELECT 'client'::text AS field, 'exact'::text AS index, "masked_client" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_client" <> '-'
     GROUP BY "masked_client" HAVING count(*) > 1
    UNION ALL
    SELECT 'client'::text AS field, 'prefix/24'::text AS index, "masked_client__prefix24" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_client__prefix24" <> '-'
     GROUP BY "masked_client__prefix24" HAVING count(*) > 1
    UNION ALL
    SELECT 'born_on'::text AS field, 'exact'::text AS index, "masked_born_on" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_born_on" <> '-'
     GROUP BY "masked_born_on" HAVING count(*) > 1;
  COMMENT ON VIEW public."orders_duplicates" IS 'tokens seen more than once';
  GRANT SELECT ON public."orders", public."orders_duplicates" TO cloakroom_analyst;
  FOREACH statement IN ARRAY coalesce(grants, '{}') LOOP
    EXECUTE statement;
  END LOOP;
END $cloakroom$;

-- epoch: record the definition, and wait until every daemon has read it []

-- rotation: seal relay in the rows that have it in clear, with its tokens, and set relay to NULL []

-- rotation: judge what the new indexes give away, and stop if it is too much []

-- rotation: make the index on each partition ["masked_relay_v1"]

-- owner: hold rows to it []
ALTER TABLE cloakroom_data."orders" ADD CONSTRAINT "sealed_relay" CHECK ("sealed_relay" IS NULL OR (data_key IS NOT NULL AND substring("sealed_relay" FROM 2 FOR 4) = int4send(data_key))) NOT VALID;
ALTER TABLE cloakroom_data."orders" ADD CONSTRAINT "relay__network" CHECK ("relay__network" IS NULL OR "sealed_relay" IS NOT NULL) NOT VALID;
ALTER TABLE cloakroom_data."orders" ADD CONSTRAINT "masked_relay_v1" CHECK (("masked_relay_v1" IS NULL) = ("sealed_relay" IS NULL)) NOT VALID;

-- owner: look at the rows that are there []
ALTER TABLE cloakroom_data."orders" VALIDATE CONSTRAINT "sealed_relay";
ALTER TABLE cloakroom_data."orders" VALIDATE CONSTRAINT "relay__network";
ALTER TABLE cloakroom_data."orders" VALIDATE CONSTRAINT "masked_relay_v1";

-- owner: refuse to go on if a value is left in clear []
DO $cloakroom$
BEGIN
  IF EXISTS (SELECT FROM cloakroom_data."orders" WHERE "relay" IS NOT NULL) THEN
    RAISE EXCEPTION 'rows still hold a member in clear that is to be protected'
      USING HINT = 'Run the backfill to its end first.';
  END IF;
END $cloakroom$;

-- owner: make the views again, granted as before []
DO $cloakroom$
DECLARE
  grants text[];
  statement text;
BEGIN
  SELECT array_agg(g.statement) INTO grants FROM (
    SELECT format('GRANT %s ON public.%I TO %s%s', a.privilege_type, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
      FROM pg_class AS c, aclexplode(c.relacl) AS a
     WHERE c.oid IN (to_regclass('public."orders"'), to_regclass('public."orders_duplicates"')) AND a.grantee <> c.relowner
    UNION ALL
    SELECT format('GRANT %s (%I) ON public.%I TO %s%s', a.privilege_type, t.attname, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
     WHERE c.oid IN (to_regclass('public."orders"'), to_regclass('public."orders_duplicates"')) AND a.grantee <> c.relowner
       AND (c.relname <> 'orders' OR t.attname = ANY ('{order_id,customer_id,placed_at,amount,items,gift,deliver_on,status,coupon,shop_app,tags,masked_relay,relay__network,masked_email,masked_card,masked_card__prefix6,card__last4,masked_client,masked_client__prefix24,client__network,masked_born_on,create_date}'::name[]))) AS g;
  DROP VIEW IF EXISTS public."orders_duplicates";
  DROP VIEW IF EXISTS public."orders";
  ALTER TABLE cloakroom_data."orders" DROP COLUMN "relay";
  ALTER TABLE cloakroom_data."orders" DROP COLUMN "masked_email__domain_v1";
  CREATE VIEW public."orders" AS
    SELECT r."order_id",
           r."customer_id",
           r."placed_at",
           r."amount",
           r."items",
           r."gift",
           r."deliver_on",
           r."status",
           r."coupon",
           r."shop_app",
           r."tags",
           r."masked_relay_v1" AS "masked_relay",
           r."relay__network",
           r."masked_email_v1" AS "masked_email",
           r."masked_card_v1" AS "masked_card",
           r."masked_card__prefix6_v1" AS "masked_card__prefix6",
           r."card__last4",
           r."masked_client_v1" AS "masked_client",
           r."masked_client__prefix24_v1" AS "masked_client__prefix24",
           r."client__network",
           r."masked_born_on_v1" AS "masked_born_on",
           r."create_date"
      FROM cloakroom_data."orders" AS r;
  COMMENT ON VIEW public."orders" IS 'events of dataset order as analysts see them: tokens where personal data was';
  CREATE VIEW public."orders_duplicates" AS
    SELECT 'relay'::text AS field, 'exact'::text AS index, "masked_relay" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_relay" <> '-'
     GROUP BY "masked_relay" HAVING count(*) > 1
    UNION ALL
    SELECT 'email'::text AS field, 'exact'::text AS index, "masked_email" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_email" <> '-'
     GROUP BY "masked_email" HAVING count(*) > 1
    UNION ALL
    SELECT 'card'::text AS field, 'exact'::text AS index, "masked_card" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_card" <> '-'
     GROUP BY "masked_card" HAVING count(*) > 1
    UNION ALL
    SELECT 'card'::text AS field, 'prefix/6'::text AS index, "masked_card__prefix6" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_card__prefix6" <> '-'
     GROUP BY "masked_card__prefix6" HAVING count(*) > 1
    UNION ALL
    SELECT 'client'::text AS field, 'exact'::text AS index, "masked_client" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_client" <> '-'
     GROUP BY "masked_client" HAVING count(*) > 1
    UNION ALL
    SELECT 'client'::text AS field, 'prefix/24'::text AS index, "masked_client__prefix24" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_client__prefix24" <> '-'
     GROUP BY "masked_client__prefix24" HAVING count(*) > 1
    UNION ALL
    SELECT 'born_on'::text AS field, 'exact'::text AS index, "masked_born_on" AS token, count(*) AS rows, count(DISTINCT "customer_id") AS subjects,
           min(create_date) AS first_date, max(create_date) AS last_date
      FROM public."orders" WHERE "masked_born_on" <> '-'
     GROUP BY "masked_born_on" HAVING count(*) > 1;
  COMMENT ON VIEW public."orders_duplicates" IS 'tokens seen more than once';
  GRANT SELECT ON public."orders", public."orders_duplicates" TO cloakroom_analyst;
  FOREACH statement IN ARRAY coalesce(grants, '{}') LOOP
    EXECUTE statement;
  END LOOP;
END $cloakroom$;

-- owner: gather the statistics of partitions and parent again []
ANALYZE cloakroom_data."orders";

-- operator: write each partition again, one after the other, each locked meanwhile: dropped bytes stay in the heap until then []
VACUUM (FULL, ANALYZE) cloakroom_data."orders";

-- operator: as a superuser, write the catalogue of statistics again: it held the most common values []
VACUUM FULL pg_catalog.pg_statistic;
