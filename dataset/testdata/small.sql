CREATE TABLE cloakroom_data."parcels" (
  "sent" timestamptz NOT NULL,
  "row_id" uuid NOT NULL,
  "create_date" date NOT NULL,
  "owner" varchar(10) NOT NULL,
  "firmware" integer,
  "firmware_text" varchar(12),
  "sealed_serial" bytea,
  "masked_serial_v1" varchar(256) COLLATE "C",
  "data_key" integer,
  PRIMARY KEY (sent, row_id, create_date),
  CONSTRAINT create_date_of_sent CHECK (create_date = (sent AT TIME ZONE 'UTC')::date),
  CONSTRAINT "sealed_serial" CHECK ("sealed_serial" IS NULL OR (data_key IS NOT NULL AND substring("sealed_serial" FROM 2 FOR 4) = int4send(data_key))),
  CONSTRAINT "masked_serial_v1" CHECK (("masked_serial_v1" IS NULL) = ("sealed_serial" IS NULL))
) PARTITION BY RANGE (create_date);
COMMENT ON TABLE cloakroom_data."parcels" IS 'one row an event of dataset parcel, a partition a month of create_date';
CREATE INDEX "parcels_masked_serial_v1" ON cloakroom_data."parcels" ("masked_serial_v1");
CREATE INDEX "parcels__subject" ON cloakroom_data."parcels" ("owner");
CREATE VIEW public."parcels" AS
  SELECT r."owner",
         r."firmware",
         r."masked_serial_v1" AS "masked_serial",
         r."create_date"
    FROM cloakroom_data."parcels" AS r;
COMMENT ON VIEW public."parcels" IS 'events of dataset parcel as analysts see them: tokens where personal data was';
CREATE VIEW public."parcels_duplicates" AS
  SELECT 'serial'::text AS field, 'exact'::text AS index, "masked_serial" AS token, count(*) AS rows, count(DISTINCT "owner") AS subjects,
         min(create_date) AS first_date, max(create_date) AS last_date
    FROM public."parcels" WHERE "masked_serial" <> '-'
   GROUP BY "masked_serial" HAVING count(*) > 1;
COMMENT ON VIEW public."parcels_duplicates" IS 'tokens seen more than once';
GRANT SELECT ON public."parcels", public."parcels_duplicates" TO cloakroom_analyst;
