//! The facts of the geography family: forty states with one-word names, and cities in them.

/// A state and what the corpus says about it.
#[derive(Debug)]
pub struct UsState {
    /// Its name, one word.
    pub name: &'static str,
    /// Two-letter postal code.
    pub postal: &'static str,
    /// Which state it was to join the union, two digits.
    pub number: &'static str,
    /// Its capital; of several words, the first is the answer.
    pub capital: &'static str,
    /// The region, as the Census Bureau draws it.
    pub region: &'static str,
    /// State flower.
    pub flower: &'static str,
    /// State bird, the last word of its name.
    pub bird: &'static str,
    /// Five cities that are not the capital; no two states share a name here.
    pub cities: [&'static str; 5],
}

macro_rules! states {
    ($($name:literal $postal:literal $number:literal $capital:literal $region:literal $flower:literal $bird:literal $a:literal $b:literal $c:literal $d:literal $e:literal;)*) => {
        &[$(UsState {
            name: $name, postal: $postal, number: $number, capital: $capital, region: $region, flower: $flower, bird: $bird,
            cities: [$a, $b, $c, $d, $e],
        }),*]
    };
}

/// All states of the corpus.
#[rustfmt::skip]
pub const STATES: &[UsState] = states! {
    "Alabama" "AL" "22" "Montgomery" "South" "camellia" "yellowhammer" "Birmingham" "Mobile" "Huntsville" "Decatur" "Selma";
    "Alaska" "AK" "49" "Juneau" "West" "forget-me-not" "ptarmigan" "Anchorage" "Fairbanks" "Sitka" "Nome" "Kodiak";
    "Arizona" "AZ" "48" "Phoenix" "West" "saguaro" "wren" "Tucson" "Mesa" "Flagstaff" "Yuma" "Tempe";
    "Arkansas" "AR" "25" "Little Rock" "South" "apple" "mockingbird" "Fayetteville" "Jonesboro" "Conway" "Bentonville" "Rogers";
    "California" "CA" "31" "Sacramento" "West" "poppy" "quail" "Fresno" "Oakland" "Anaheim" "Pasadena" "Stockton";
    "Colorado" "CO" "38" "Denver" "West" "columbine" "bunting" "Boulder" "Pueblo" "Aspen" "Durango" "Greeley";
    "Connecticut" "CT" "05" "Hartford" "Northeast" "laurel" "robin" "Stamford" "Bridgeport" "Danbury" "Norwalk" "Waterbury";
    "Delaware" "DE" "01" "Dover" "South" "peach" "hen" "Wilmington" "Smyrna" "Lewes" "Milford" "Seaford";
    "Florida" "FL" "27" "Tallahassee" "South" "orange" "mockingbird" "Miami" "Tampa" "Orlando" "Pensacola" "Sarasota";
    "Georgia" "GA" "04" "Atlanta" "South" "rose" "thrasher" "Savannah" "Macon" "Athens" "Valdosta" "Marietta";
    "Hawaii" "HI" "50" "Honolulu" "West" "hibiscus" "goose" "Hilo" "Kailua" "Lahaina" "Kapolei" "Wailuku";
    "Idaho" "ID" "43" "Boise" "West" "syringa" "bluebird" "Pocatello" "Nampa" "Lewiston" "Meridian" "Caldwell";
    "Illinois" "IL" "21" "Springfield" "Midwest" "violet" "cardinal" "Chicago" "Peoria" "Rockford" "Joliet" "Naperville";
    "Indiana" "IN" "19" "Indianapolis" "Midwest" "peony" "cardinal" "Gary" "Muncie" "Evansville" "Kokomo" "Bloomington";
    "Iowa" "IA" "29" "Des Moines" "Midwest" "rose" "goldfinch" "Davenport" "Dubuque" "Ames" "Waterloo" "Ottumwa";
    "Kansas" "KS" "34" "Topeka" "Midwest" "sunflower" "meadowlark" "Wichita" "Lawrence" "Salina" "Emporia" "Olathe";
    "Kentucky" "KY" "15" "Frankfort" "South" "goldenrod" "cardinal" "Louisville" "Lexington" "Paducah" "Owensboro" "Danville";
    "Louisiana" "LA" "18" "Baton Rouge" "South" "magnolia" "pelican" "Shreveport" "Lafayette" "Metairie" "Monroe" "Houma";
    "Maine" "ME" "23" "Augusta" "Northeast" "pine" "chickadee" "Bangor" "Biddeford" "Brunswick" "Saco" "Orono";
    "Maryland" "MD" "07" "Annapolis" "South" "black-eyed Susan" "oriole" "Baltimore" "Bethesda" "Frederick" "Rockville" "Salisbury";
    "Massachusetts" "MA" "06" "Boston" "Northeast" "mayflower" "chickadee" "Worcester" "Cambridge" "Lowell" "Quincy" "Plymouth";
    "Michigan" "MI" "26" "Lansing" "Midwest" "apple" "robin" "Detroit" "Flint" "Kalamazoo" "Saginaw" "Dearborn";
    "Minnesota" "MN" "32" "Saint Paul" "Midwest" "lady slipper" "loon" "Minneapolis" "Duluth" "Rochester" "Mankato" "Bemidji";
    "Mississippi" "MS" "20" "Jackson" "South" "magnolia" "mockingbird" "Biloxi" "Gulfport" "Tupelo" "Natchez" "Vicksburg";
    "Missouri" "MO" "24" "Jefferson City" "Midwest" "hawthorn" "bluebird" "Joplin" "Branson" "Independence" "Sedalia" "Hannibal";
    "Montana" "MT" "41" "Helena" "West" "bitterroot" "meadowlark" "Billings" "Missoula" "Bozeman" "Butte" "Kalispell";
    "Nebraska" "NE" "37" "Lincoln" "Midwest" "goldenrod" "meadowlark" "Omaha" "Kearney" "Hastings" "Fremont" "Beatrice";
    "Nevada" "NV" "36" "Carson City" "West" "sagebrush" "bluebird" "Reno" "Henderson" "Elko" "Sparks" "Winnemucca";
    "Ohio" "OH" "17" "Columbus" "Midwest" "carnation" "cardinal" "Cleveland" "Cincinnati" "Toledo" "Dayton" "Akron";
    "Oklahoma" "OK" "46" "Oklahoma City" "South" "rose" "flycatcher" "Tulsa" "Norman" "Lawton" "Enid" "Stillwater";
    "Oregon" "OR" "33" "Salem" "West" "grape" "meadowlark" "Portland" "Eugene" "Medford" "Corvallis" "Ashland";
    "Pennsylvania" "PA" "02" "Harrisburg" "Northeast" "laurel" "grouse" "Pittsburgh" "Scranton" "Erie" "Allentown" "Altoona";
    "Tennessee" "TN" "16" "Nashville" "South" "iris" "mockingbird" "Memphis" "Knoxville" "Chattanooga" "Clarksville" "Murfreesboro";
    "Texas" "TX" "28" "Austin" "South" "bluebonnet" "mockingbird" "Dallas" "Houston" "Amarillo" "Lubbock" "Laredo";
    "Utah" "UT" "45" "Salt Lake City" "West" "sego lily" "gull" "Provo" "Ogden" "Moab" "Logan" "Orem";
    "Vermont" "VT" "14" "Montpelier" "Northeast" "clover" "thrush" "Burlington" "Rutland" "Stowe" "Bennington" "Barre";
    "Virginia" "VA" "10" "Richmond" "South" "dogwood" "cardinal" "Norfolk" "Roanoke" "Chesapeake" "Lynchburg" "Hampton";
    "Washington" "WA" "42" "Olympia" "West" "rhododendron" "goldfinch" "Seattle" "Tacoma" "Spokane" "Yakima" "Everett";
    "Wisconsin" "WI" "30" "Madison" "Midwest" "violet" "robin" "Milwaukee" "Racine" "Oshkosh" "Kenosha" "Appleton";
    "Wyoming" "WY" "44" "Cheyenne" "West" "paintbrush" "meadowlark" "Casper" "Laramie" "Cody" "Gillette" "Sheridan";
};
