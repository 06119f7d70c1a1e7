package dataset

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Personal is what kind of personal data a value is, or may hold. Empty: none.
type Personal string

// The kinds. They decide how a draft protects a member.
const (
	Email    Personal = "an e-mail address"
	Phone    Personal = "a phone number"
	Card     Personal = "a payment card number"
	IBAN     Personal = "a bank account"
	Address  Personal = "an IP address"
	Postal   Personal = "a postal address"
	Name     Personal = "a person's name"
	Birth    Personal = "a date of birth"
	National Personal = "a national id or a passport number"
	Device   Personal = "a device's id"
	Agent    Personal = "a user agent"
	Place    Personal = "a place on the map"
	Account  Personal = "a login name"
	Secret   Personal = "a secret"
	Special  Personal = "a fact about a person"
	FreeText Personal = "free text, in which anything may stand"
)

// named are the words by which a member's name tells what it holds, in the order in which they are tried: an
// email_address is no postal address. A word of a name is one of these, or, where the entry ends in *, begins with it
// or, of compounds such as kundentelefon, ends with it. Words joined by _ must follow each other in the name.
var named = []struct {
	what  Personal
	words string
}{
	{Secret, "password passwd pwd passphrase passwort* kennwort* contrasena motdepasse wachtwoord secret token jwt " +
		"api_key apikey access_key private_key bearer authorization cookie session session_id sessionid sid otp cvv cvc pin " +
		"credential credentials"},
	{Email, "email* mail e_mail mailto correo courriel"},
	{Address, "ip ipv4 ipv6 ipaddr ip_address remote_addr client_addr peer_addr x_forwarded_for forwarded"},
	{Device, "imei imsi mac idfa idfv gaid adid aaid device_id deviceid device_uuid android_id advertising_id " +
		"installation_id install_id fingerprint geraete_id geraetenummer serial_number device_token"},
	{Card, "card_number cardnumber card_no cardno card pan ccnumber cc_number credit_card creditcard kartennummer " +
		"kreditkarte* tarjeta carte_bancaire"},
	{IBAN, "iban bank_account bankaccount kontonummer kontonr numero_cuenta " +
		"rekeningnummer routing_number sort_code"},
	{National, "ssn social_security passport* reisepass* national_id nationalid personalausweis* ausweis* " +
		"tax_id taxid steuernummer steuer_id nif nie dni cpf cnpj curp nino bsn pesel codice_fiscale driver_license " +
		"drivers_license license_plate licence_plate kennzeichen vin nhs_number insurance_number versicherungsnummer"},
	{Birth, "birth* dob birthday birthdate date_of_birth born geburt* geboren geboortedatum nacimiento naissance nascita " +
		"nascimento"},
	{Phone, "phone* telephone* telefon* mobile msisdn cell cellphone fax tel handy handynummer rufnummer " +
		"mobilnummer movil celular gsm whatsapp"},
	{Agent, "user_agent useragent ua browser_agent"},
	{Place, "lat latitude lng lon longitude geo geolocation gps coordinates coords breitengrad laengengrad " +
		"latitud longitud"},
	{Name, "first_name firstname last_name lastname surname full_name fullname given_name givenname family_name " +
		"familyname middle_name maiden_name display_name displayname vorname* nachname* familienname* zuname ansprechpartner " +
		"nombre apellido apellidos prenom nom cognome voornaam achternaam sobrenome recipient cardholder card_holder " +
		"contact_name customer_name person_name holder_name buyer_name patient_name guest_name employee_name passenger_name " +
		"client_name member_name kunde_name kundenname cliente_nombre real_name"},
	{Postal, "address* addr street* strasse* adresse* anschrift* hausnummer house_number zip zipcode zip_code postcode " +
		"post_code postal_code plz postleitzahl direccion domicilio calle rue indirizzo endereco adres " +
		"wohnort"},
	{Account, "username user_name login login_name nickname nick handle screen_name benutzername benutzer anmeldename " +
		"usuario twitter instagram skype"},
	{Special, "gender sex geschlecht genero religion ethnicity race nationality staatsangehoerigkeit diagnosis diagnose " +
		"disease blood_type bloodtype disability sexuality marital_status familienstand salary gehalt income einkommen age " +
		"alter"},
}

// aspects are words at a name's end by which it speaks of something about a person's data, not of the data: card_type,
// email_verified, phone_country.
var aspects = strings.Fields("type status state count kind brand verified enabled valid confirmed length size provider " +
	"scheme version class format country currency total opt_in optin subscribed at")

// NamedPersonal says what kind of personal data the name of a place in an event speaks of, whatever its style
// (emailAddress, e-mail, E_MAIL) and in a few languages. It errs on the side of personal.
func NamedPersonal(path []string) Personal {
	last := Words(path[len(path)-1])
	if len(last) > 1 && slices.Contains(aspects, last[len(last)-1]) || len(path) > 1 && len(last) == 1 &&
		slices.Contains(aspects, last[0]) {
		return ""
	}
	if what := namedBy(last, false); what != "" || len(path) == 1 {
		return what
	}
	// customer.name is a customer_name; but not everything in a session is a session.
	parent := Words(path[len(path)-2])
	if what := namedBy(append(parent, last...), true); what != "" {
		return what
	}
	for _, name := range path[:len(path)-1] {
		if namedBy(Words(name), false) == Postal {
			return Postal
		}
	}
	return ""
}

// namedBy looks words up; with several, only entries of more than one word count.
func namedBy(words []string, several bool) Personal {
	joined := "_" + strings.Join(words, "_") + "_"
	for _, entry := range named {
		for _, known := range strings.Fields(entry.words) {
			stem, compound := strings.CutSuffix(known, "*")
			if several && !strings.Contains(known, "_") {
				continue
			}
			if strings.Contains(joined, "_"+stem+"_") {
				return entry.what
			}
			// vorName is a vorname.
			for i := 1; i < len(words) && !several; i++ {
				if words[i-1]+words[i] == stem {
					return entry.what
				}
			}
			for _, word := range words {
				if compound && !several && (strings.HasPrefix(word, stem) || strings.HasSuffix(word, stem)) {
					return entry.what
				}
			}
		}
	}
	return ""
}

// Words are the words of a name in lower case and in the letters a to z, as far as it has such: emailAddress,
// e-mail.address and Straße give email address, e mail address and strasse.
func Words(name string) []string {
	var words []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, string(word))
			word = word[:0]
		}
	}
	umlauts := strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "Ä", "Ae", "Ö", "Oe", "Ü", "Ue", "ø", "o",
		"æ", "ae", "ł", "l", "Ł", "L")
	letters := []rune(norm.NFD.String(umlauts.Replace(norm.NFC.String(name))))
	for i, r := range letters {
		switch {
		case unicode.Is(unicode.Mn, r): // an accent that was taken off its letter
			continue
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r >= 'A' && r <= 'Z':
			before := i > 0 && (letters[i-1] >= 'a' && letters[i-1] <= 'z' || letters[i-1] >= '0' && letters[i-1] <= '9')
			// The last capital of IPAddress begins a word.
			acronym := i > 0 && letters[i-1] >= 'A' && letters[i-1] <= 'Z' &&
				i+1 < len(letters) && letters[i+1] >= 'a' && letters[i+1] <= 'z'
			if before || acronym {
				end()
			}
			r += 'a' - 'A'
		default:
			end()
			continue
		}
		word = append(word, r)
	}
	end()
	return words
}
