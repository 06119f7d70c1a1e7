package blindindex
import ("testing";"math/rand";"golang.org/x/text/unicode/norm";"strings";"fmt";"unicode")
func TestZ(t *testing.T){
 fmt.Println(norm.Version, unicode.Version)
 var pool []rune
 for r:=rune(0x80); r<0x30000; r++ { p:=norm.NFC.PropertiesString(string(r)); if p.CCC()!=0|| len(p.Decomposition())>0 || !p.BoundaryBefore() {pool=append(pool,r)} }
 fmt.Println(len(pool))
 bad:=map[string]int{}
 for i:=0;i<300000;i++{
  n:=1+rand.Intn(80); var b strings.Builder
  only:= rand.Intn(2)==0
  for j:=0;j<n;j++{ 
    for { r:=pool[rand.Intn(len(pool))]; if only && norm.NFC.PropertiesString(string(r)).CCC()==0 && rand.Intn(30)>0 {continue}; b.WriteRune(r); break} }
  s:=b.String()
  for _,tr:=range []Transform{Text,CaseFold}{
   a,err:=tr.Normalise(s); if err!=nil{continue}
   c,_:=tr.Normalise(a); if a!=c { bad[string(tr)]++ ; if bad[string(tr)]<3 {fmt.Printf("%s %+q\n  %+q\n %+q\n",tr,s,a,c)}}
   // canonical equivalence
   d,_:=tr.Normalise(norm.NFD.String(s)); if a!=d { bad["eq"+string(tr)]++ ; if bad["eq"+string(tr)]<3 {fmt.Printf("EQ %s %+q\n  %+q\n %+q\n",tr,s,a,d)}}
  }
 }
 fmt.Println(bad)
}
