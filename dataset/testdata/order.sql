CREATE TABLE cloakroom_data."orders" (
  "sent" timestamptz NOT NULL,
  "row_id" uuid NOT NULL,
  "create_date" date NOT NULL,
  "message_id" uuid NOT NULL,
  "message_sent" timestamptz NOT NULL,
  "order_id" varchar(64) NOT NULL,
  "customer_id" uuid NOT NULL,
  "placed_at" timestamptz NOT NULL,
  "amount" numeric(12,2),
  "items" bigint NOT NULL,
  "gift" boolean,
  "deliver_on" date,
  "status" varchar(16),
  "coupon" varchar(12),
  "shop_app" integer,
  "shop_app_text" varchar(32),
  "tags" jsonb,
  "relay" inet,
  "sealed_email" bytea,
  "sealed_card" bytea,
  "sealed_client" bytea,
  "sealed_address" bytea,
  "sealed_born_on" bytea,
  "card__last4" text,
  "client__network" cidr,
  "masked_email_v1" varchar(256) COLLATE "C",
  "masked_email__domain_v1" varchar(256) COLLATE "C",
  "masked_card_v1" varchar(256) COLLATE "C",
  "masked_card__prefix6_v1" varchar(256) COLLATE "C",
  "masked_client_v1" varchar(256) COLLATE "C",
  "masked_client__prefix24_v1" varchar(256) COLLATE "C",
  "masked_born_on_v1" varchar(256) COLLATE "C",
  "data_key" integer,
  PRIMARY KEY (sent, row_id, create_date),
  CONSTRAINT create_date_of_sent CHECK (create_date = (sent AT TIME ZONE 'UTC')::date),
  CONSTRAINT "sealed_email" CHECK ("sealed_email" IS NULL OR (data_key IS NOT NULL AND substring("sealed_email" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "masked_email_v1" CHECK (("masked_email_v1" IS NULL) = ("sealed_email" IS NULL)),
  CONSTRAINT "masked_email__domain_v1" CHECK (("masked_email__domain_v1" IS NULL) = ("sealed_email" IS NULL)),
  CONSTRAINT "sealed_card" CHECK ("sealed_card" IS NULL OR (data_key IS NOT NULL AND substring("sealed_card" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "card__last4" CHECK ("card__last4" IS NULL OR "sealed_card" IS NOT NULL),
  CONSTRAINT "masked_card_v1" CHECK (("masked_card_v1" IS NULL) = ("sealed_card" IS NULL)),
  CONSTRAINT "masked_card__prefix6_v1" CHECK (("masked_card__prefix6_v1" IS NULL) = ("sealed_card" IS NULL)),
  CONSTRAINT "sealed_client" CHECK ("sealed_client" IS NULL OR (data_key IS NOT NULL AND substring("sealed_client" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "client__network" CHECK ("client__network" IS NULL OR "sealed_client" IS NOT NULL),
  CONSTRAINT "masked_client_v1" CHECK (("masked_client_v1" IS NULL) = ("sealed_client" IS NULL)),
  CONSTRAINT "masked_client__prefix24_v1" CHECK (("masked_client__prefix24_v1" IS NULL) = ("sealed_client" IS NULL)),
  CONSTRAINT "sealed_address" CHECK ("sealed_address" IS NULL OR (data_key IS NOT NULL AND substring("sealed_address" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "sealed_born_on" CHECK ("sealed_born_on" IS NULL OR (data_key IS NOT NULL AND substring("sealed_born_on" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "masked_born_on_v1" CHECK (("masked_born_on_v1" IS NULL) = ("sealed_born_on" IS NULL))
) PARTITION BY RANGE (create_date);
COMMENT ON TABLE cloakroom_data."orders" IS 'one row an event of dataset order, a partition a day of create_date';
CREATE INDEX "orders_masked_email_v1" ON cloakroom_data."orders" ("masked_email_v1");
CREATE INDEX "orders_masked_email__domain_v1" ON cloakroom_data."orders" ("masked_email__domain_v1");
CREATE INDEX "orders_masked_card_v1" ON cloakroom_data."orders" ("masked_card_v1");
CREATE INDEX "orders_masked_card__prefix6_v1" ON cloakroom_data."orders" ("masked_card__prefix6_v1");
CREATE INDEX "orders_masked_client_v1" ON cloakroom_data."orders" ("masked_client_v1");
CREATE INDEX "orders_masked_client__prefix24_v1" ON cloakroom_data."orders" ("masked_client__prefix24_v1");
CREATE INDEX "orders_masked_born_on_v1" ON cloakroom_data."orders" ("masked_born_on_v1");
CREATE INDEX "orders__subject" ON cloakroom_data."orders" ("customer_id");
CREATE INDEX "orders__message" ON cloakroom_data."orders" (message_sent, message_id);
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
