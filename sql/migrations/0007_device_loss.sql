-- Each time a device was lost to a process: one that is lost again and again is set aside for some time.
CREATE TABLE sum_assets.device_loss (
    host text NOT NULL,
    device text NOT NULL,
    said text NOT NULL,
    run_id text NOT NULL,
    lost_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE sum_assets.device_loss IS 'Devices that were lost to a run, until `sum-assets trust`';
COMMENT ON COLUMN sum_assets.device_loss.device IS 'As torch names it on its host';
