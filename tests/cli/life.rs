//! Detached instances in a place of their own, all of which end with their test.

use crate::guest::Guest;
use crate::lint::bios_disk;
use crate::run::{BOUND, Ended, Place, run};
use ami_run_catalog::{
    Behavior, Catalog, DEFAULT_ZONE, Held, NewInstance, NewVolume, Start, State, StateReason, VolumeOrigin,
    VolumeRecord, time,
};
use ami_run_image::Tag;
use ami_run_storage::{Base, Volume};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) struct Life {
    pub(crate) place: Place,
}

impl Life {
    /// A place with disk.raw, which guests get as their root volume.
    pub(crate) fn new() -> Life {
        let place = Place::new();
        place.write("disk.raw", bios_disk());
        Life { place }
    }

    /// `ami-run` with these words, and its end.
    pub(crate) fn ended(&self, words: &[&str]) -> Ended {
        run(self.place.command(words))
    }

    /// The same in one line; it must succeed. Its output.
    pub(crate) fn done(&self, line: &str) -> String {
        let ended = self.ended(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.err);
        ended.out
    }

    /// Launches a detached instance of this name, and waits until its guest has said `up`. Its id.
    pub(crate) fn launch(&self, name: &str, guest: Guest, options: &[&str]) -> String {
        let file = format!("guest-{name}");
        self.place.write(&file, guest.elf());
        let machine = ["disk.raw", "--kernel", &file, "--force", "--cpus", "1", "--memory", "64"];
        let ended = run({
            let mut command = self.place.command(&machine);
            command.args(["-d", "--name", name, "--wait-for", "console:up"]).args(options);
            command
        });
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.err);
        ended.out.trim().to_owned()
    }

    pub(crate) fn state_folder(&self) -> PathBuf {
        self.place.folder().join("home/.local/share/ami-run")
    }

    /// Every path in the state folder, seen from there.
    pub(crate) fn left(&self) -> Vec<String> {
        paths(&self.state_folder())
    }

    fn catalog(&self) -> Catalog {
        Catalog::open(&self.state_folder()).unwrap()
    }

    /// An instance that this process holds, and that is pending. Volumes: 1 GiB each, at /dev/xvda and /dev/sdf.
    pub(crate) fn pending(&self, name: &str) -> Held {
        let catalog = self.catalog();
        let volume = |device: &str, delete_on_termination: bool| NewVolume {
            device_name: device.to_owned(),
            delete_on_termination,
            volume: VolumeRecord {
                bytes: 1 << 30,
                volume_type: "gp3".to_owned(),
                iops: None,
                throughput: None,
                encrypted: false,
                snapshot_id: None,
                create_time: time::iso(time::now()),
                nvme: true,
                origin: VolumeOrigin::Store { base: None },
            },
        };
        let new = NewInstance {
            name: "disk.raw".to_owned(),
            image_id: None,
            reservation: catalog.new_reservation(None).unwrap(),
            ami_launch_index: 0,
            instance_type: "t3.micro".to_owned(),
            architecture: "x86_64".to_owned(),
            root_device_name: "/dev/xvda".to_owned(),
            root_device_type: "ebs".to_owned(),
            boot_mode: None,
            current_instance_boot_mode: "legacy-bios".to_owned(),
            cpus: 2,
            memory_mib: 1024,
            ena_support: true,
            kernel_id: None,
            ramdisk_id: None,
            product_codes: Vec::new(),
            availability_zone: DEFAULT_ZONE.to_owned(),
            tags: vec![Tag { key: Some("Name".to_owned()), value: Some(name.to_owned()), ..Tag::default() }],
            volumes: vec![volume("/dev/xvda", true), volume("/dev/sdf", false)],
            instance_store: Vec::new(),
            start: Start::Firmware(None),
            shutdown_behavior: Behavior::Stop,
            remove: false,
            foreground: false,
            stop_timeout: 30,
            network: ami_run_catalog::Network::default(),
            metadata_options: ami_run_catalog::MetadataOptions::default(),
            user_data: None,
            key: None,
            key_file: None,
            user: None,
            uefi_data: None,
            iam_credentials: None,
        };
        catalog.create(new).unwrap()
    }

    /// The same, whose machine runs as far as its record tells.
    pub(crate) fn running(&self, name: &str) -> Held {
        let mut held = self.pending(name);
        for id in held.record().own.volumes.keys() {
            Volume::create(&held.volume_file(id), Base::empty("nothing"), Some(1 << 30)).unwrap();
        }
        held.enter(State::Running, None).unwrap();
        held
    }

    /// The same, stopped after it has run.
    pub(crate) fn stopped(&self, name: &str) -> String {
        let mut held = self.running(name);
        held.enter(State::Stopped, Some(StateReason::by_user())).unwrap();
        held.record().instance_id.clone()
    }

    /// The instance as `ls --output json` has it.
    pub(crate) fn instance(&self, id: &str) -> Option<Value> {
        let listed: Value = serde_json::from_str(&self.done("ls --output json")).unwrap();
        let all = listed["Reservations"].as_array().unwrap().iter();
        let mut all = all.flat_map(|one| one["Instances"].as_array().unwrap().clone());
        all.find(|instance| instance["InstanceId"] == id)
    }

    pub(crate) fn state(&self, id: &str) -> String {
        let instance = self.instance(id);
        instance.map_or("gone".to_owned(), |it| it["State"]["Name"].as_str().unwrap().to_owned())
    }

    /// Waits for a state in which instances do not stay, too.
    pub(crate) fn until(&self, id: &str, state: &str) {
        let start = Instant::now();
        while self.state(id) != state {
            assert!(start.elapsed() < BOUND, "{id} is {} and not {state}", self.state(id));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The id of the instance's volume at this device.
    pub(crate) fn volume(&self, id: &str, device: &str) -> String {
        let instance = self.instance(id).unwrap();
        let mut mappings = instance["BlockDeviceMappings"].as_array().unwrap().iter();
        let mapping = mappings.find(|mapping| mapping["DeviceName"] == device);
        mapping.unwrap()["Ebs"]["VolumeId"].as_str().unwrap().to_owned()
    }
}

/// Every path in a folder, seen from there.
pub(crate) fn paths(folder: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
            left.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
            folders.extend(entry.file_type().unwrap().is_dir().then(|| entry.path()));
        }
    }
    left
}

impl Drop for Life {
    fn drop(&mut self) {
        let instances = run(self.place.command(&["ls", "-q"])).out;
        for id in instances.lines() {
            // The test has failed or not, whatever becomes of this.
            drop(run(self.place.command(&["terminate", "--force", id])));
        }
    }
}
