CREATE TABLE cloakroom_data."user_logins" (
  "sent" timestamptz NOT NULL,
  "row_id" uuid NOT NULL,
  "create_date" date NOT NULL,
  "user_id" varchar(128) NOT NULL,
  "device_type" varchar(32),
  "locale" varchar(32),
  "app_version" integer,
  "app_version_text" varchar(32),
  "sealed_ip" bytea,
  "sealed_device_id" bytea,
  "masked_ip_v1" varchar(256) COLLATE "C",
  "masked_device_id_v1" varchar(256) COLLATE "C",
  "data_key" integer,
  PRIMARY KEY (sent, row_id, create_date),
  CONSTRAINT create_date_of_sent CHECK (create_date = (sent AT TIME ZONE 'UTC')::date),
  CONSTRAINT "sealed_ip" CHECK ("sealed_ip" IS NULL OR (data_key IS NOT NULL AND substring("sealed_ip" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "masked_ip_v1" CHECK (("masked_ip_v1" IS NULL) = ("sealed_ip" IS NULL)),
  CONSTRAINT "sealed_device_id" CHECK ("sealed_device_id" IS NULL OR (data_key IS NOT NULL AND substring("sealed_device_id" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "masked_device_id_v1" CHECK (("masked_device_id_v1" IS NULL) = ("sealed_device_id" IS NULL))
) PARTITION BY RANGE (create_date);
COMMENT ON TABLE cloakroom_data."user_logins" IS 'one row an event of dataset login, a partition a month of create_date';
CREATE INDEX "user_logins_masked_ip_v1" ON cloakroom_data."user_logins" ("masked_ip_v1");
CREATE INDEX "user_logins_masked_device_id_v1" ON cloakroom_data."user_logins" ("masked_device_id_v1");
CREATE INDEX "user_logins__subject" ON cloakroom_data."user_logins" ("user_id");
CREATE VIEW public."user_logins" AS
  SELECT r."user_id",
         r."device_type",
         r."masked_ip_v1" AS "masked_ip",
         r."masked_device_id_v1" AS "masked_device_id",
         r."locale",
         r."app_version",
         r."create_date"
    FROM cloakroom_data."user_logins" AS r;
COMMENT ON VIEW public."user_logins" IS 'events of dataset login as analysts see them: tokens where personal data was';
CREATE VIEW public."user_logins_duplicates" AS
  SELECT 'ip'::text AS field, 'exact'::text AS index, "masked_ip" AS token, count(*) AS rows, count(DISTINCT "user_id") AS subjects,
         min(create_date) AS first_date, max(create_date) AS last_date
    FROM public."user_logins" WHERE "masked_ip" <> '-'
   GROUP BY "masked_ip" HAVING count(*) > 1
  UNION ALL
  SELECT 'device_id'::text AS field, 'exact'::text AS index, "masked_device_id" AS token, count(*) AS rows, count(DISTINCT "user_id") AS subjects,
         min(create_date) AS first_date, max(create_date) AS last_date
    FROM public."user_logins" WHERE "masked_device_id" <> '-'
   GROUP BY "masked_device_id" HAVING count(*) > 1;
COMMENT ON VIEW public."user_logins_duplicates" IS 'tokens seen more than once';
GRANT SELECT ON public."user_logins", public."user_logins_duplicates" TO cloakroom_analyst;
