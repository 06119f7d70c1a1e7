-- What a user would make today: one table for pgcrypto in the INSERT, one for the loop with unsalted SHA-256, both with the
-- indexes that ours has.
CREATE EXTENSION pgcrypto SCHEMA public;

CREATE TABLE public.pgcrypto_logins (
  message_id uuid, create_date date, user_id varchar(128) NOT NULL, device_type varchar(32), locale varchar(32), app_version varchar(32),
  ip bytea, device_id bytea, masked_ip varchar(256), masked_device_id varchar(256),
  PRIMARY KEY (message_id, create_date));
CREATE INDEX ON public.pgcrypto_logins (masked_ip);
CREATE INDEX ON public.pgcrypto_logins (masked_device_id);

CREATE TABLE public.hashed_logins (
  user_id varchar(128), device_type varchar(32), masked_ip varchar(256), masked_device_id varchar(256), locale varchar(32),
  app_version integer, create_date date);
CREATE INDEX ON public.hashed_logins (masked_ip);
CREATE INDEX ON public.hashed_logins (masked_device_id);
