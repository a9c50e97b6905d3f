//! Invented hazardous areas by seed: the sample that the project carries, and the load of the benches.
//!
//! Everything is invented: places, names, notes. All of it lies in the South Pacific round Point
//! Nemo, farther from land than any other place. Only integers and the raw words of ChaCha20 are
//! used, so that a seed gives the same bytes on every machine and with every later version of `rand`.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
};

use cairn_exchange::{Drawing, GeoJsonWriter, WriteError};
use cairn_records::geometry::{Position, Ring, Shape};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};

/// Corners of a generated ring.
pub const CORNERS: usize = 12;
/// Seed of the sample that the project carries.
pub const SAMPLE_SEED: u64 = 20_261_124;
/// Areas in that sample.
pub const SAMPLE_AREAS: usize = 60;

/// Point Nemo, in units of 1e-7 degree.
const NEMO_LAT_E7: i32 = -488_766_670;
const NEMO_LON_E7: i32 = -1_233_933_330;
/// Units of 1e-7 degree of latitude in a metre, about.
const UNITS_PER_METRE: i64 = 90;

/// Cosine and sine of twelve directions, in thousandths.
const DIRECTIONS: [(i64, i64); CORNERS] = [
    (1000, 0),
    (866, 500),
    (500, 866),
    (0, 1000),
    (-500, 866),
    (-866, 500),
    (-1000, 0),
    (-866, -500),
    (-500, -866),
    (0, -1000),
    (500, -866),
    (866, -500),
];

/// An invented hazardous area.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    /// Its number in the series, from 1.
    pub number: usize,
    /// Its boundary, latitude and longitude in units of 1e-7 degree, the first corner not repeated.
    pub ring: Vec<(i32, i32)>,
    /// Its fields by name, in the shape in which GeoJSON properties are imported.
    pub fields: BTreeMap<String, Value>,
}

/// `count` areas of this seed. The first areas of a longer series are those of a shorter one.
pub fn areas(seed: u64, count: usize) -> impl Iterator<Item = Area> {
    let mut dice = Dice(ChaCha20Rng::seed_from_u64(seed));
    (1..=count).map(move |number| dice.area(number))
}

impl Area {
    /// Its boundary as records hold it; `None` never happens to a generated ring.
    #[must_use]
    pub fn shape(&self) -> Option<Shape> {
        let corners = self
            .ring
            .iter()
            .map(|(lat, lon)| Position::new((*lat).into(), (*lon).into()));
        let ring = Ring::new(corners.collect::<Option<Vec<_>>>()?).ok()?;
        Shape::from_ring(ring).ok()
    }
}

/// Writes areas as GeoJSON.
///
/// # Errors
///
/// Where `out` fails.
pub fn write_geojson(out: impl Write, areas: impl Iterator<Item = Area>) -> Result<(), WriteError> {
    let mut writer = GeoJsonWriter::new(out)?;
    for area in areas {
        let shape = area.shape();
        let drawing = shape
            .as_ref()
            .map_or(Drawing::None, |shape| Drawing::Area(shape.polygons()));
        writer.write(&format!("area-{:07}", area.number), drawing, &area.fields)?;
    }
    writer.finish().map(|_| ())
}

/// How much information areas hold, so that figures about bytes are honest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entropy {
    /// Areas measured.
    pub areas: usize,
    /// Their corners (as differences, 1e-7 degree, varints) and values, plain.
    pub plain_bytes: usize,
    /// The same with zstd at level 19, corners and values in a frame each.
    pub zstd_bytes: usize,
    /// Of these, the corners.
    pub corners_zstd_bytes: usize,
}

impl fmt::Display for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |bytes: usize| bytes as f64 / self.areas.max(1) as f64;
        write!(
            f,
            "{} areas: {:.0} bytes each plain, {:.1} with zstd -19 (corners alone {:.1})",
            self.areas,
            each(self.plain_bytes),
            each(self.zstd_bytes),
            each(self.corners_zstd_bytes)
        )
    }
}

/// Measures areas of a seed, packed without names of fields and with corners as differences.
///
/// # Errors
///
/// Where zstd fails.
pub fn entropy(seed: u64, count: usize) -> io::Result<Entropy> {
    let (mut corners, mut values) = (Vec::new(), Vec::new());
    for area in areas(seed, count) {
        let mut before = (0, 0);
        for corner in &area.ring {
            for difference in [corner.0 - before.0, corner.1 - before.1] {
                varint(difference, &mut corners);
            }
            before = *corner;
        }
        for value in area.fields.values() {
            values.extend_from_slice(value.to_string().as_bytes());
            values.push(b'\n');
        }
    }
    let plain_bytes = corners.len() + values.len();
    let corners_zstd_bytes = zstd::bulk::compress(&corners, 19)?.len();
    let zstd_bytes = corners_zstd_bytes + zstd::bulk::compress(&values, 19)?.len();
    Ok(Entropy {
        areas: count,
        plain_bytes,
        zstd_bytes,
        corners_zstd_bytes,
    })
}

fn varint(value: i32, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 31)) as u32;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

struct Dice(ChaCha20Rng);

impl Dice {
    /// A number from 0 to below `end`.
    fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as u32
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u32) as usize]
    }

    fn some(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// One or more different ones of a list, in its order.
    fn several(&mut self, list: &[&str], percent: u32) -> Vec<String> {
        let first = self.below(list.len() as u32) as usize;
        let mut taken = Vec::new();
        for (index, code) in list.iter().enumerate() {
            if index == first || self.some(percent) {
                taken.push((*code).to_owned());
            }
        }
        taken
    }

    fn area(&mut self, number: usize) -> Area {
        let district = self.below(6) as usize;
        let (ring, radius_m) = self.ring(district);
        let language = *self.pick(&[Language::English, Language::Arabic, Language::Ukrainian]);
        let date = self.date();
        let place = language.place(self);
        let mut fields = BTreeMap::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);

        put(
            "local_id",
            json!(format!("DEMO-HA-{}-{number:05}", date.replace('-', ""))),
        );
        put("date_of_information", json!(date));
        put("admin1_pcode", json!("XN01"));
        put("admin2_pcode", json!(format!("XN01{:02}", district + 1)));
        put(
            "admin3_pcode",
            json!(format!("XN01{:02}{:03}", district + 1, self.below(40) + 1)),
        );
        put("location_name", json!(place));
        put(
            "hazard_class",
            json!(self.pick(&["confirmed", "suspected", "suspected", "indication"])),
        );
        put(
            "status",
            json!(if self.some(92) { "open" } else { "suspended" }),
        );
        put(
            "area_reported",
            json!(i64::from(radius_m * radius_m * 3 / 100) * 100),
        );
        put("eo_categories", json!(self.several(&EO_CATEGORIES, 8)));
        if self.some(40) {
            put(
                "eo_models",
                json!([self.pick(&["PMN-2", "PMA-3", "TM-62M", "OZM-72", "M14"])]),
            );
        }
        put("blockages", json!(self.several(&BLOCKAGES, 10)));
        put(
            "marking",
            json!(self.pick(&["none", "none", "none", "damaged", "temporary", "permanent"])),
        );
        put(
            "slope",
            json!(self.pick(&["flat", "gentle", "moderate", "steep"])),
        );
        put(
            "vegetation",
            json!(self.pick(&["none", "grass", "bushes", "trees", "mixed"])),
        );
        put(
            "intended_land_use",
            json!(self.pick(&["agriculture", "grazing", "forest", "housing"])),
        );
        put(
            "reliability_source",
            json!(self.pick(&["a", "b", "b", "c", "d"])),
        );
        put(
            "reliability_information",
            json!(self.pick(&["1", "2", "2", "3", "4"])),
        );
        for (group, most) in [
            ("female/adult", 90),
            ("male/adult", 90),
            ("female/child", 140),
            ("male/child", 140),
        ] {
            put(
                &format!("expected_beneficiaries/{group}"),
                json!(self.below(most)),
            );
        }
        let heard = json!({"type": self.pick(&INDIRECT), "date": self.date(), "comment": language.sentence(self)});
        put("indirect_evidence", json!([heard]));
        if self.some(35) {
            let seen = json!({"type": self.pick(&DIRECT), "date": self.date()});
            put("direct_evidence", json!([seen]));
        }
        let note = [
            language.sentence(self),
            language.sentence(self),
            language.sentence(self),
        ];
        put("description", json!(note.join(" ")));
        put("access_notes", json!(language.access(self)));
        Area {
            number,
            ring,
            fields,
        }
    }

    /// A star of twelve corners round a centre: it never crosses itself.
    fn ring(&mut self, district: usize) -> (Vec<(i32, i32)>, u32) {
        let radius_m = 20 + self.below(30) * self.below(30) / 2;
        let lat = NEMO_LAT_E7 + (district as i32 / 3) * 4_000_000 + self.below(3_500_000) as i32;
        let lon = NEMO_LON_E7 + (district as i32 % 3) * 6_000_000 + self.below(5_000_000) as i32;
        let ring = DIRECTIONS.map(|(east, north)| {
            // Between 60 and 140 % of the radius, to the unit: like a walked boundary.
            let units = i64::from(radius_m) * UNITS_PER_METRE;
            let reach = units * 6 / 10 + i64::from(self.below((units * 8 / 10) as u32));
            // A degree of longitude is about two thirds of one of latitude there.
            let (north, east) = (reach * north / 1000, reach * east * 3 / 2000);
            (lat + north as i32, lon + east as i32)
        });
        (ring.to_vec(), radius_m)
    }

    fn date(&mut self) -> String {
        let (year, month, day) = (2019 + self.below(7), 1 + self.below(12), 1 + self.below(28));
        format!("{year}-{month:02}-{day:02}")
    }
}

const EO_CATEGORIES: [&str; 8] = [
    "ap_mine",
    "ap_mine_improvised",
    "av_mine",
    "cluster_munition_remnant",
    "uxo",
    "axo",
    "ied",
    "booby_trap",
];
const BLOCKAGES: [&str; 8] = [
    "agriculture",
    "grazing",
    "forest",
    "water",
    "housing",
    "road",
    "school",
    "cultural",
];
const INDIRECT: [&str; 5] = [
    "old_survey",
    "former_combat_zone",
    "accident_unknown_location",
    "unused_productive_land",
    "verbal_report",
];
const DIRECT: [&str; 4] = [
    "detonation",
    "reliable_record",
    "signs_or_fencing",
    "visual_observation",
];

#[derive(Clone, Copy)]
enum Language {
    English,
    Arabic,
    Ukrainian,
}

impl Language {
    /// A place that does not exist.
    fn place(self, dice: &mut Dice) -> String {
        let (first, middle, last): ([&str; 8], [&str; 6], [&str; 6]) = match self {
            Self::English => (
                ["Vel", "Or", "Thal", "Kes", "Mir", "Dun", "Ash", "Quel"],
                ["mo", "a", "ri", "le", "vi", "o"],
                ["ra", "nth", "dor", "mere", "wick", "sund"],
            ),
            Self::Arabic => (
                ["فل", "أور", "ثال", "كس", "مير", "دون", "أش", "كول"],
                ["مو", "ا", "ري", "لي", "في", "و"],
                ["را", "نث", "دور", "مير", "ويك", "سند"],
            ),
            Self::Ukrainian => (
                ["Вел", "Ор", "Тал", "Кес", "Мір", "Дун", "Аш", "Квел"],
                ["мо", "а", "рі", "ле", "ві", "о"],
                ["ра", "нт", "дор", "мере", "вік", "сунд"],
            ),
        };
        format!(
            "{}{}{}",
            dice.pick(&first),
            dice.pick(&middle),
            dice.pick(&last)
        )
    }

    fn sentence(self, dice: &mut Dice) -> String {
        let sentences = match self {
            Self::English => ENGLISH,
            Self::Arabic => ARABIC,
            Self::Ukrainian => UKRAINIAN,
        };
        let sentence = *dice.pick(&sentences);
        self.fill(sentence, dice)
    }

    fn access(self, dice: &mut Dice) -> String {
        let sentence = match self {
            Self::English => "Leave the road {n} m after {place}, keep to the ploughed side.",
            Self::Arabic => "اترك الطريق بعد {place} بمسافة {n} م، والزم الجانب المحروث.",
            Self::Ukrainian => "З'їхати з дороги за {n} м після {place}, триматися зораного боку.",
        };
        self.fill(sentence, dice)
    }

    fn fill(self, sentence: &str, dice: &mut Dice) -> String {
        let number = dice.below(380) + 3;
        sentence
            .replace("{place}", &self.place(dice))
            .replace("{n}", &number.to_string())
    }
}

const ENGLISH: [&str; 8] = [
    "Shepherds from {place} lost {n} animals along the old trench.",
    "The strip was held for two winters and has not been ploughed since.",
    "A fence of {n} posts stands on the northern side; most signs are gone.",
    "The owner in {place} keeps a sketch of two rows, {n} m apart.",
    "Children cross here to reach the school in {place}.",
    "After the flood a mine lay open {n} m below the bridge.",
    "The former front ran from the well to {place}.",
    "A tractor was destroyed about {n} m east of the track.",
];
const ARABIC: [&str; 8] = [
    "فقد رعاة من {place} نحو {n} رأسا من الماشية على طول الخندق القديم.",
    "كان الشريط موقعا عسكريا لشتاءين ولم يحرث منذ ذلك الحين.",
    "يوجد سياج من {n} عمودا في الجهة الشمالية وقد اختفت معظم اللافتات.",
    "يحتفظ المالك في {place} برسم لصفين تفصل بينهما {n} م.",
    "يعبر الأطفال من هنا للوصول إلى المدرسة في {place}.",
    "بعد الفيضان ظهر لغم على بعد {n} م أسفل الجسر.",
    "امتد خط المواجهة السابق من البئر إلى {place}.",
    "دمر جرار على بعد نحو {n} م شرق الطريق الترابي.",
];
const UKRAINIAN: [&str; 8] = [
    "Пастухи з {place} втратили {n} тварин уздовж старої траншеї.",
    "Смугу утримували дві зими, відтоді її не орали.",
    "З північного боку стоїть огорожа з {n} стовпів, більшість знаків зникла.",
    "Власник у {place} зберігає схему двох рядів на відстані {n} м.",
    "Тут діти ходять до школи в {place}.",
    "Після повені міна лежала відкрито за {n} м нижче мосту.",
    "Колишня лінія фронту йшла від криниці до {place}.",
    "Трактор було знищено приблизно за {n} м на схід від колії.",
];
