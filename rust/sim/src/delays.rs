//! How long messages take between places: measured, or made of distances.

use std::sync::OnceLock;

use crate::actors::MS;

/// Round trips between places, in nanoseconds. May hold several measurements of the same places, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    tables: Vec<Vec<Vec<u64>>>,
    /// What is remarked of each place, in the first table.
    places: Vec<String>,
}

/// Why a text holds no round trips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelaysError {
    /// From 1.
    pub line: usize,
    pub reason: &'static str,
}

impl std::fmt::Display for DelaysError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Longest round trip that is believed, in milliseconds, and most places.
const TRIP_MS_MAX: f64 = 60_000.0;
const PLACES_MAX: usize = 1024;

impl Delays {
    /// Reads square tables of round trips in milliseconds: a line for each place, numbers between blanks, `nan` or 0 where
    /// nothing was measured, an empty line between tables, `#` before remarks. What is missing one way is taken of the
    /// other, or is the longest of its line.
    ///
    /// # Errors
    /// Names the line that is none of this.
    pub fn parse(text: &str) -> Result<Self, DelaysError> {
        let mut tables = vec![Vec::<Vec<f64>>::new()];
        let (mut places, mut last) = (Vec::new(), 0);
        for (at, line) in text.lines().enumerate() {
            let failed = |reason| DelaysError {
                line: at + 1,
                reason,
            };
            last = at + 1;
            let (words, remark) = line.split_once('#').unwrap_or((line, ""));
            let row = words.split_whitespace().map(str::parse::<f64>);
            let row: Vec<f64> = row
                .collect::<Result<_, _>>()
                .map_err(|_| failed("a round trip is a number of milliseconds"))?;
            if tables.len() == 1 && !row.is_empty() {
                places.push(remark.trim().to_owned());
            }
            let table = tables.last_mut();
            match table {
                _ if row.is_empty() && line.contains('#') => {}
                Some(table) if row.is_empty() => {
                    if !table.is_empty() {
                        square(table).map_err(failed)?;
                        tables.push(Vec::new());
                    }
                }
                Some(table) if table.len() < PLACES_MAX => table.push(row),
                _ => return Err(failed("more than 1024 places")),
            }
        }
        let failed = |reason| DelaysError { line: last, reason };
        match tables.last() {
            Some(table) if table.is_empty() => drop(tables.pop()),
            Some(table) => square(table).map_err(failed)?,
            None => {}
        }
        if tables.is_empty() {
            return Err(failed("no table of round trips"));
        }
        Ok(Self {
            tables: tables.iter().map(|table| filled(table)).collect(),
            places,
        })
    }

    /// Between 42 regions of two clouds, measured in 2022.
    pub fn regions() -> &'static Self {
        static REGIONS: OnceLock<Delays> = OnceLock::new();
        REGIONS.get_or_init(|| {
            enclosed(include_str!(
                "../../../integration/data/routing/regions.txt"
            ))
        })
    }

    /// Between twelve devices of people, measured 32 times in a row: a trace.
    pub fn devices() -> &'static Self {
        static DEVICES: OnceLock<Delays> = OnceLock::new();
        DEVICES.get_or_init(|| {
            enclosed(include_str!(
                "../../../integration/data/routing/devices.txt"
            ))
        })
    }

    /// Cities in all parts of the world, at the speed of light in glass over paths half as long again as they need be.
    pub fn world() -> Self {
        let cities = CITIES.iter();
        let row = |from: &(f64, f64)| cities.clone().map(|to| trip(*from, *to)).collect();
        Self {
            tables: vec![CITIES.iter().map(row).collect()],
            places: vec![String::new(); CITIES.len()],
        }
    }

    /// The place of which a remark says this.
    pub fn place(&self, remark: &str) -> Option<usize> {
        self.places.iter().position(|place| place == remark)
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn tables(&self) -> &[Vec<Vec<u64>>] {
        &self.tables
    }

    /// The ways between these places, in each of the measurements. Two in one place are neighbours.
    pub(crate) fn ways(&self, places: &[usize]) -> Vec<Vec<Vec<u64>>> {
        let way = |table: &Vec<Vec<u64>>, from: usize, to: usize| match from == to {
            true => MS,
            false => table[from][to] / 2,
        };
        let ways = |table| {
            let row = |from: &usize| places.iter().map(|to| way(table, *from, *to)).collect();
            places.iter().map(row).collect()
        };
        self.tables.iter().map(ways).collect()
    }
}

/// What this crate brings with it; a test reads it.
#[expect(
    clippy::expect_used,
    reason = "a table of this crate that cannot be read is a defect of it"
)]
fn enclosed(text: &str) -> Delays {
    Delays::parse(text).expect("a table of this crate")
}

/// How far round trips spread, as measured: the 90th of 100 as a multiple of the median, of one way each.
pub(crate) fn spreads() -> &'static [f64] {
    static SPREADS: OnceLock<Vec<f64>> = OnceLock::new();
    SPREADS.get_or_init(|| {
        let text = include_str!("../../../integration/data/routing/spread.txt");
        let ratio = |line: &str| {
            let mut words = line.split_whitespace().map(str::parse::<f64>);
            let (median, ninetieth) = (words.next()?.ok()?, words.next()?.ok()?);
            Some(ninetieth / median)
        };
        text.lines().filter_map(ratio).collect()
    })
}

fn square(table: &[Vec<f64>]) -> Result<(), &'static str> {
    if table.iter().any(|row| row.len() != table.len()) {
        return Err("the table is not square: as many lines as numbers in each");
    }
    let bad = |trip: &f64| *trip < 0.0 || *trip > TRIP_MS_MAX;
    if table.iter().flatten().any(bad) {
        return Err("a round trip is from 0 to 60000 ms");
    }
    Ok(())
}

fn filled(table: &[Vec<f64>]) -> Vec<Vec<u64>> {
    let known = |trip: f64| (trip > 0.0).then_some(trip);
    let trip = |from: usize, to: usize| {
        let longest = table[from]
            .iter()
            .copied()
            .filter_map(known)
            .fold(1.0, f64::max);
        let ms = known(table[from][to])
            .or(known(table[to][from]))
            .unwrap_or(longest);
        (ms * 1e6) as u64
    };
    let places = 0..table.len();
    let row = |from| places.clone().map(|to| trip(from, to)).collect();
    places.clone().map(row).collect()
}

/// Kilometres that light goes in glass in a millisecond, how much longer than the circle the path is, and the rest.
const KM_EACH_MS: f64 = 200.0;
const DETOUR: f64 = 1.5;
const REST_MS: f64 = 1.0;
const EARTH_KM: f64 = 6371.0;

fn trip(from: (f64, f64), to: (f64, f64)) -> u64 {
    let (lat, lon) = ((to.0 - from.0).to_radians(), (to.1 - from.1).to_radians());
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let share = half(lat) + from.0.to_radians().cos() * to.0.to_radians().cos() * half(lon);
    let km = 2.0 * EARTH_KM * share.sqrt().min(1.0).asin();
    ((2.0 * km * DETOUR / KM_EACH_MS + REST_MS) * 1e6) as u64
}

/// Latitude and longitude in degrees.
const CITIES: [(f64, f64); 16] = [
    (50.1, 8.7),    // Frankfurt
    (51.5, -0.1),   // London
    (59.3, 18.1),   // Stockholm
    (40.7, -74.0),  // New York
    (45.5, -73.6),  // Montreal
    (32.8, -96.8),  // Dallas
    (37.8, -122.4), // San Francisco
    (-23.6, -46.6), // São Paulo
    (-33.4, -70.7), // Santiago
    (-33.9, 18.4),  // Cape Town
    (30.0, 31.2),   // Cairo
    (19.1, 72.9),   // Mumbai
    (1.4, 103.8),   // Singapore
    (35.7, 139.7),  // Tokyo
    (-33.9, 151.2), // Sydney
    (-36.8, 174.8), // Auckland
];
